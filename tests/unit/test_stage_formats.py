"""Nobody forgets to raise a stage's format: the code behind it is on record."""

import json
from pathlib import Path

import pytest

from tests.stage_formats import RECORD, STAGES, _code, formats

HELP = (
    "The code behind the stages {} changed. If the same settings and inputs now give another artefact, raise the "
    "FORMAT of the stage; then run `python -m tests.stage_formats`."
)


def test_a_changed_stage_needs_a_decision_about_its_format() -> None:
    recorded, now = json.loads(RECORD.read_text(encoding="utf-8")), formats()
    assert set(recorded) == set(now) == set(STAGES)
    changed = [stage for stage in now if recorded[stage] != now[stage]]
    assert not changed, HELP.format(", ".join(changed))


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ('def f(a: int) -> int:\n    """Another docstring."""\n    return a + 1  # a comment', False),
        ("def f(a):\n    return a + 2", True),
        ("def f(a):\n    if a:\n        raise ValueError('other words')\n    return a + 1", True),
    ],
    ids=["words", "code", "a new refusal"],
)
def test_code_counts_and_words_do_not(text: str, counts: bool, tmp_path: Path) -> None:
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_text('def f(a: str) -> int:\n    """A docstring."""\n    return a + 1')
    after.write_text(text)
    assert (_code(before) != _code(after)) is counts
