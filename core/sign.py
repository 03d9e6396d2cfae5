"""The sign: its size in cells, and whether a message fits. It lays text out and never changes it.

A full-width character (Hangul) takes two cells; a digit, space or full stop takes one. A board shows one sentence at a
time, wrapped at spaces; a scrolling sign runs the whole message through one line.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import SettingError

SCROLL_CELLS = 80  # a walker reads about eight full-width characters a second and passes in five


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign's size: `lines` of `columns` cells each; `lines` 0 scrolls a message of up to `columns` cells."""

    columns: int
    lines: int

    @classmethod
    def parse(cls, text: str) -> "Sign":
        """Read `COLUMNSxLINES` in cells, such as `20x2`; `scroll`, or `scroll:CELLS`.

        Raises:
            SettingError: the text has none of these forms.
        """
        scroll = re.fullmatch(r"scroll(?::([1-9]\d{0,3}))?", text.strip())
        if scroll:
            return cls(int(scroll[1] or SCROLL_CELLS), 0)
        size = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,1})", text.strip())
        if not size:
            raise SettingError(
                f"{text!r} is not a sign profile.",
                "Write columns x lines in cells, such as 20x2, or scroll, or scroll:80.",
            )
        return cls(int(size[1]), int(size[2]))

    def __str__(self) -> str:
        return f"{self.columns}x{self.lines}" if self.lines else f"scroll:{self.columns}"

    def pages(self, text: str) -> list[list[str]]:
        """Return the pages that the sign shows in turn, each as its lines; lines that are too long are not cut."""
        return [wrap(sentence, self.columns) for sentence in split_sentences(text)] if self.lines else [[text]]

    def misfits(self, text: str) -> list[str]:
        """Describe the lines that are too wide and the pages with too many lines; an empty list means the text fits."""
        found = []
        for page in self.pages(text):
            found += [f"{cells(line)} of {self.columns} cells: {line}" for line in page if cells(line) > self.columns]
            if self.lines and len(page) > self.lines:
                found.append(f"{len(page)} of {self.lines} lines: {' / '.join(page)}")
        return found


DEFAULT_SIGN = Sign(20, 2)  # two lines of ten full-width characters


def cells(text: str) -> int:
    """Width on the sign: full-width characters take two cells."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def wrap(text: str, columns: int, width: Callable[[str], int] = cells) -> list[str]:
    """Break a text at spaces into lines of at most `columns`, measured by `width`; a longer word gets its own line."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and width(f"{lines[-1]} {word}") <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def split_sentences(text: str) -> list[str]:
    """Split after `.`, `?` or `!`; always at least one element."""
    return re.split(r"(?<=[.?!])\s+", text.strip())
