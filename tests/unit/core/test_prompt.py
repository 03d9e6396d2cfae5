"""The prompt's name: it changes with the wording and the version, and today's is pinned."""

import pytest

from core import prompt
from core.prompt import PROMPT_VERSION, Message, build_messages, prompt_name

GOLDEN: list[Message] = build_messages(*prompt.GOLDEN)


def test_the_wording_is_the_one_of_this_version() -> None:
    """A change here is a new PROMPT_VERSION: models that were trained on the earlier wording must be trained again."""
    assert prompt_name() == "signboard-prompt-2-280db656"


def test_a_name_says_for_which_prompt_it_stands() -> None:
    assert prompt_name(PROMPT_VERSION, GOLDEN) == prompt_name()
    assert prompt_name(PROMPT_VERSION + 1, GOLDEN) != prompt_name()
    for place, message in enumerate(GOLDEN):
        other = [*GOLDEN]
        other[place] = {**message, "content": message["content"] + " "}
        assert prompt_name(PROMPT_VERSION, other) != prompt_name()


def test_the_name_follows_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompt_name()
    monkeypatch.setattr(prompt, "SYSTEM_PROMPT", "다른 지시문입니다.")
    assert prompt_name() != before
