"""The documents against the code: commands, make targets, files and settings that they name exist."""

import importlib
import re
from pathlib import Path

import pytest

from pipeline.recipe import Recipe
from tests.conftest import ROOT
from tests.rooms import ALLOWED

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("recipes/*.yaml"),
        ROOT / ".env.example",
        ROOT / "Makefile",
    ]
)
PAIRS = [(page, page.with_suffix(".ko.md")) for page in PAGES if page.with_suffix(".ko.md") in PAGES]
COMMANDS = {"clients": {"say", "ping"}}


def commands_of(room: str) -> set[str]:
    """Return the subcommands of a room's command line."""
    if room in COMMANDS:
        return COMMANDS[room]
    app = importlib.import_module(f"{room}.__main__").app
    return {command.name or command.callback.__name__ for command in app.registered_commands}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"python3? -m (\w+) ([a-z]+)\b", text_of(page)))
    known = {room: commands_of(room) for room in ALLOWED if room not in ("core", "database")}
    assert {(room, command) for room, command in named if room in known and command not in known[room]} == set()
    bare = set(re.findall(r"python3? -m (\w+)`", text_of(page)))
    assert bare <= set(known) | {"pytest", "signboard"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_that_a_page_names_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = {
        word
        for line in re.findall(r"(?:`|^|\$ )make ((?:[a-z-]+ ?)+)", text_of(page), re.MULTILINE)
        for word in line.split()
    }
    assert named <= targets


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", text_of(page))
    local = {link for link in links if not link.startswith(("http:", "https:", "mailto:"))}
    assert {link for link in local if not (page.parent / link).exists()} == set()


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").split()) <= 900


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].name)
def test_a_korean_page_has_what_the_english_one_has(pair: tuple[Path, Path]) -> None:
    english, korean = map(text_of, pair)
    for what in (r"^(#+) ", r"^\|", r"^```", r"^!\["):
        assert len(re.findall(what, english, re.MULTILINE)) == len(re.findall(what, korean, re.MULTILINE)), what


def test_recipe_keys_that_the_settings_page_names_exist() -> None:
    named = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", text_of(ROOT / "docs/settings.md")))
    sections = set(Recipe.model_fields)
    unknown = set()
    for key in (name for name in named if name.split(".")[0] in sections):
        model: object = Recipe
        for part in key.split("."):
            fields = getattr(model, "model_fields", {})
            if part not in fields:
                unknown.add(key)
                break
            model = fields[part].annotation
    assert unknown == set()


def test_pages_cite_nothing_that_a_reader_does_not_have() -> None:
    pattern = re.compile(r"(SPEC|FACTS|FIELD|REVIEW|DESIGN|STYLE)\.md|\bissue #?\d{1,2}\b")
    cited = {
        (page.name, match[0])
        for page in [
            *PAGES,
            *(path for room in ALLOWED for path in (ROOT / room).rglob("*.py")),
            *ROOT.glob("tests/**/*.py"),
        ]
        if page.name not in ("CHANGELOG.md", "test_docs.py")
        for match in pattern.finditer(text_of(page))
    }
    assert cited == set()
