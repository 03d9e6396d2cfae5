"""A message as dots: its pages as 1-bit bitmaps of the exact size of the sign, in Hangul fonts of 8, 12 and 16 dots.

```
pages = render("어제보다 10도 올라 포근합니다. 산책하기 좋습니다.", SignProfile.parse("192x48"))
```

In: a text and a sign's profile. Out: Pillow bitmaps in which a lit dot is 1. One sentence at a time, wrapped at spaces
as core/sign.py does it, but measured in dots; a sentence of more lines than the sign has continues on the next page.
Text is laid out, never changed: what the font or the sign cannot show raises.

The fonts are cut down to ASCII and KS X 1001. Browsers read the same files, so a page can draw the same dots.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from core.errors import SettingError
from core.sign import split_sentences
from signs.errors import NotDrawable
from signs.layout import Page, paginate

FONTS = Path(__file__).parent / "fonts"
LONGEST = 4096  # dots of a side; a longer one is a typing error


class Font(IntEnum):
    """A font, named by the height of its line in dots."""

    DOTS_8 = 8  # Galmuri7: Hangul 8 wide
    DOTS_12 = 12  # GalmuriMono11: Hangul 12 wide, ASCII 6; the font of the operator's page
    DOTS_16 = 16  # Galmuri14: Hangul 15 wide

    @property
    def path(self) -> Path:
        """Its file."""
        return FONTS / {8: "Galmuri7.woff", 12: "GalmuriMono11.woff", 16: "Galmuri14.woff"}[self]

    @property
    def size(self) -> int:
        """The size in pixels at which its dots fall on pixels."""
        return {8: 8, 12: 12, 16: 15}[self]


class Align(StrEnum):
    """Where lines stand on the sign."""

    CENTRE = "centre"
    TOP_LEFT = "top-left"


@dataclass(frozen=True, slots=True)
class SignProfile:
    """A sign's size in dots, its font, and where lines stand."""

    width: int
    height: int
    font: Font
    align: Align = Align.CENTRE

    @classmethod
    def parse(cls, text: str, align: Align = Align.CENTRE) -> "SignProfile":
        """Read `WIDTHxHEIGHT` in dots, such as `192x48`, or `192x48:12` for the font of 12 dots.

        Without a font it is the largest that has two lines on the sign, else the largest that has one.

        Raises:
            SettingError: the text has neither form, or no line of the font fits.
        """
        found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})(?::(8|12|16))?", text.strip())
        if not found or max(int(found[1]), int(found[2])) > LONGEST:
            raise SettingError(
                f"{text!r} is not a sign's size in dots.",
                "Write width x height, such as 192x48, or 192x48:12 for the font of 12 dots (8, 12 or 16).",
            )
        width, height = int(found[1]), int(found[2])
        fitting = [font for font in Font if font <= min(width, height)]
        if not fitting or (found[3] and int(found[3]) not in fitting):
            raise SettingError(f"{text!r} has no room for one line.", f"The smallest font has {min(Font)} dots.")
        two_lines = [font for font in fitting if 2 * font <= height]
        return cls(width, height, Font(int(found[3])) if found[3] else max(two_lines or fitting), align)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}:{self.font}"

    @property
    def lines(self) -> int:
        """The lines of a page."""
        return self.height // self.font


def measure(text: str, font: Font) -> int:
    """Return a text's width in dots.

    Raises:
        NotDrawable: the font lacks one of its characters.
    """
    _check(text, font)
    return round(_loaded(font).getlength(text))


def layout(text: str, profile: SignProfile) -> list[Page]:
    """Return the pages of a text, each as its lines.

    Raises:
        NotDrawable: the font lacks a character, or a word is wider than the sign.
    """
    return paginate(text, profile.width, profile.lines, lambda line: measure(line, profile.font), "dots")


def fits(text: str, profile: SignProfile) -> bool:
    """Return whether each sentence of a text fits one page of the sign."""
    try:
        return len(layout(text, profile)) == len(split_sentences(text))
    except NotDrawable:
        return False


def render(text: str, profile: SignProfile) -> list[Image.Image]:
    """Return a text's pages, each a bitmap (mode `1`) of `profile.width` × `profile.height`, a lit dot being 1.

    Raises:
        NotDrawable: the font lacks a character, or a word is wider than the sign.
    """
    return [draw(page, profile) for page in layout(text, profile)]


def draw(lines: Page, profile: SignProfile) -> Image.Image:
    """Return one page of `layout` as a bitmap."""
    page = blank(profile)
    pen = ImageDraw.Draw(page)
    pen.fontmode = "1"  # no grey
    centred = profile.align is Align.CENTRE
    top = (profile.height - len(lines) * profile.font) // 2 if centred else 0
    for number, line in enumerate(lines):
        left = (profile.width - measure(line, profile.font)) // 2 if centred else 0
        # Each font has an empty row above its Hangul: without it, tails of g, y and the comma end inside the line.
        pen.text((left, top + number * profile.font - 1), line, font=_loaded(profile.font), fill=1)
    return page


def strip(text: str, profile: SignProfile) -> Image.Image:
    """Return a text as one line of `profile.height` dots and its own width, for a sign that scrolls.

    Raises:
        NotDrawable: the font lacks a character.
    """
    one_line = SignProfile(max(1, measure(text, profile.font)), profile.height, profile.font, profile.align)
    return draw((text,), one_line)


def blank(profile: SignProfile) -> Image.Image:
    """Return a page without a lit dot."""
    return Image.new("1", (profile.width, profile.height))


def as_picture(pages: list[Image.Image], scale: int) -> Image.Image:
    """Return pages below each other for people to look at, `scale` pixels a dot, in the colour of an amber sign."""
    gap = 1 if len(pages) > 1 else 0
    wide, high = max(page.width for page in pages), sum(page.height + gap for page in pages) - gap
    picture = Image.new("RGB", (wide, high), "#5a5a5a")
    top = 0
    for page in pages:
        picture.paste("#0a0a0a", (0, top, page.width, top + page.height))
        picture.paste("#ffb000", (0, top), page)
        top += page.height + gap
    return picture.resize((wide * scale, high * scale), Image.Resampling.NEAREST)


@cache
def _loaded(font: Font) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font.path, font.size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _missing(font: Font) -> bytes:
    """Return the picture of a character that the font lacks."""
    return _dots("\U000f0000", font)


@cache
def _drawn(char: str, font: Font) -> bool:
    return char == " " or _dots(char, font) != _missing(font)


def _dots(char: str, font: Font) -> bytes:
    picture = Image.new("1", (2 * font, 2 * font))
    pen = ImageDraw.Draw(picture)
    pen.fontmode = "1"
    pen.text((0, 0), char, font=_loaded(font), fill=1)
    return picture.tobytes()


def _check(text: str, font: Font) -> None:
    if not unicodedata.is_normalized("NFC", text):
        raise NotDrawable("The text is not in Unicode's form NFC.", "A message of the gateway always is.")
    if lacks := sorted({char for char in text if not _drawn(char, font)}):
        raise NotDrawable(
            f"The font of {font} dots lacks {', '.join(map(repr, lacks))}.", "It has ASCII and KS X 1001."
        )
