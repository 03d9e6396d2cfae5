"""The verdict as the server reads it: only `true` is a passed one."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import ArtefactError, VerdictError
from pipeline.graph import MADE_FROM
from pipeline.stage import run_stage
from pipeline.verdict import VERDICT, check_verdict


def judged(run: Path, content: object) -> Path:
    """Build a run whose verdict says this."""

    def build(folder: Path) -> dict[str, Any]:
        (folder / VERDICT).write_text(json.dumps(content))
        return {}

    for stage in ("data", "base", "adapter", "merged", "awq", "verdict"):
        inputs = {name: run / name for name in MADE_FROM.get(stage, ())}
        run_stage(run / stage, format=1, recipe="tiny", settings={}, inputs=inputs, build=build)
    return run


@pytest.mark.parametrize("passed", [False, None, 0, 1, "true", "yes", [True]], ids=repr)
def test_only_true_is_a_passed_verdict(passed: object, tmp_path: Path) -> None:
    with pytest.raises(VerdictError, match="failed its verdict"):
        check_verdict(judged(tmp_path, {"passed": passed}))


@pytest.mark.parametrize("content", [{}, [], None, "passed", {"Passed": True}], ids=repr)
def test_a_verdict_that_does_not_say_passed_or_not_is_rejected(content: object, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot be read"):
        check_verdict(judged(tmp_path, content))
