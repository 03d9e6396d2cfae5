"""What a fault means and what to do, as docs/runbook.md and docs/admin.md say it, in both languages."""

import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("runbook", "admin")
MEANS, DO = ("It means", "의미"), ("Do", "조치")


class InBoth(BaseModel):
    """A text in Korean and in English; `code` in it stands between backticks."""

    ko: str
    en: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A fault's entry, and where it stands."""

    means: InBoth
    todo: InBoth
    page: str  # such as docs/runbook.md; the Korean page ends in .ko.md


def read_runbook(folder: Path = DOCS) -> dict[str, Entry]:
    """Return the entries by the faults' codes; none if the docs were not delivered with the code."""
    found: dict[str, Entry] = {}
    for page in PAGES:
        english, korean = (_sections(folder / f"{page}{end}") for end in (".md", ".ko.md"))
        for code in english.keys() & korean.keys():
            means, todo = (
                InBoth(ko=_line(korean[code], heading[1]), en=_line(english[code], heading[0]))
                for heading in (MEANS, DO)
            )
            if means.en and todo.en:
                found[code] = Entry(means, todo, f"docs/{page}.md")
    return found


def _sections(page: Path) -> dict[str, str]:
    """Return the sections whose heading is one word, by that word."""
    if not page.is_file():
        return {}
    parts = re.split(r"^##+ (.+)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: text for name, text in zip(parts[::2], parts[1::2], strict=True) if re.fullmatch(r"[A-Za-z]+", name)}


def _line(section: str, heading: str) -> str:
    """Return the paragraph that begins with a heading, as plain text."""
    found = re.search(rf"^- \*\*{heading}\.\*\* (.+?)(?=\n- |\n\n|\Z)", section, re.MULTILINE | re.DOTALL)
    plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", found[1]) if found else ""
    return re.sub(r"\s+", " ", plain.replace("**", "")).strip()
