"""A base's own chat template at import: it must render what it will be asked, and the same tomorrow."""

import json
import shutil
from pathlib import Path

import pytest

from core.errors import ArtefactError
from tests.conftest import ROOT
from training.chat_template import CHATML, configure_chat_template

NANO = ROOT / "training/base/nano"
DATED = "{{ 'Today: ' + strftime_now('%d %B %Y') }}" + CHATML
IF_DEFINED = "{% if strftime_now is defined %}{% set day = strftime_now('%d') %}{% endif %}" + CHATML
LUCK = "{{ ['a', 'b'] | random }}" + CHATML
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)
ALTERNATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}{% endfor %}" + CHATML
)
UNDEFINED = "{{ tools[0].name }}" + CHATML  # a list that no call of ours has


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NANO, tmp_path / "base"))


def configure(base: Path, template: str) -> None:
    (base / "chat_template.jinja").write_text(template)
    configure_chat_template(base, "own")


@pytest.mark.parametrize(
    ("template", "named"), [(DATED, "strftime_now"), (IF_DEFINED, "strftime_now"), (LUCK, "random")]
)
def test_a_template_that_varies_by_clock_or_chance_is_rejected_at_import(base: Path, template: str, named: str) -> None:
    with pytest.raises(ArtefactError, match=rf"{named}.*tomorrow") as caught:
        configure(base, template)
    assert "chatml" in caught.value.todo


@pytest.mark.parametrize(
    ("template", "reason"),
    [(NO_SYSTEM, "System role not supported"), (ALTERNATE, "must alternate"), (UNDEFINED, "has no element 0")],
)
def test_a_template_that_cannot_render_our_turns_is_rejected_at_import(base: Path, template: str, reason: str) -> None:
    with pytest.raises(ArtefactError, match=rf"cannot render a system turn.*{reason}"):
        configure(base, template)


def test_a_comment_about_the_date_does_no_harm(base: Path) -> None:
    configure(base, "{# strftime_now was here #}" + CHATML)


def test_chatml_replaces_a_template_that_refuses_a_system_turn(base: Path) -> None:
    (base / "chat_template.jinja").write_text(NO_SYSTEM)
    config = json.loads((base / "tokenizer_config.json").read_text())
    assert config["eos_token"] == "<|im_end|>"
    assert configure_chat_template(base, "chatml")["new_tokens"] == {}
    assert (base / "chat_template.jinja").read_text() == CHATML


def test_words_in_a_templates_text_are_no_code(base: Path) -> None:
    configure(base, CHATML + "{% if false %}the random strftime_now (now) lipsum{% endif %}")


def test_a_template_that_thinks_by_default_is_proven_with_thinking_off(base: Path) -> None:
    thinking = (
        CHATML + "{% if add_generation_prompt and not (enable_thinking is defined and enable_thinking is false) %}"
        "{{ '<think>' }}{% endif %}"
    )
    configure(base, thinking)
    assert "set enable_thinking = false" in (base / "chat_template.jinja").read_text()
