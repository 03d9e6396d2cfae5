"""A board's view as dots: its pages as the sign shows them, with the AI mark, and as PNG in the sign's colour.

In: a board's view, the size and look that are wanted. Out: 1-bit pages from signs/raster.py. The kiosk page draws the
same pages that `/boards/{id}.png` encodes and that a driver sends, so all three have the same dots.
"""

import base64
import io
from dataclasses import dataclass
from threading import Lock
from typing import Any

from cachetools import LRUCache, cached
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.sign import Sign
from gateway.boards import BoardView
from signs.errors import NotDrawable
from signs.raster import Font, SignProfile, blank, layout, render, strip

AI_MARK = "AI 작성"
CELL_DOTS, LINE_DOTS = 8, 16  # of a sign whose size is known in cells only: Hangul, two cells, has 16 dots
KEPT_DOTS = 64 * 2**20  # of drawn pages, a byte each: 16 walls of 1920×1080 dots, or thousands of usual signs
PAGE_SECONDS = 4.0  # for which a page is shown
SCROLL_SPEED = 50  # dots a second


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a picture is drawn for: the sign's profile, and whether it scrolls."""

    profile: SignProfile
    scroll: bool = False
    ai_mark: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its lines, and its dots (mode `1`). A scrolling sign's only page is as wide as text and mark."""

    lines: tuple[str, ...]
    dots: Image.Image

    @property
    def bits(self) -> str:
        """The dots in Base64, row by row, eight in a byte, the left one highest; each row begins a byte."""
        return base64.b64encode(self.dots.tobytes()).decode()


def profile_of(sign: Sign) -> SignProfile:
    """Return the dots of a sign that is known in cells only: 8 a cell, 16 a line; a scrolling one is 160 wide."""
    columns, lines = (sign.columns, sign.lines) if sign.lines else (20, 1)
    return SignProfile(columns * CELL_DOTS, lines * LINE_DOTS, Font.DOTS_16)


def pages_of(view: BoardView, wanted: Wanted) -> tuple[Page, ...]:
    """Return what a sign shows in turn; nothing for a blank board.

    Raises:
        NotDrawable: the sign cannot show the text. It is never altered.
    """
    return _pages(view.message.generated_text, wanted) if view.message else ()


def corner_mark(pages: tuple[Page, ...], wanted: Wanted) -> str | None:
    """Return the mark if it stands in a corner of every page, in the dots but not in the lines."""
    return AI_MARK if pages and wanted.ai_mark and AI_MARK not in pages[-1].lines else None


def png_of(view: BoardView, wanted: Wanted, rgb: tuple[int, int, int], number: int | None = None) -> bytes:
    """Return the picture of a page, exactly as large as the sign; black for a blank board.

    Args:
        view: the board's.
        wanted: the sign.
        rgb: the colour of lit dots.
        number: the page, from 0; None: what the sign shows now.

    Raises:
        IndexError: there is no such page.
        NotDrawable: the sign cannot show the text.
    """
    pages = pages_of(view, wanted)
    if number is not None and number >= max(1, len(pages)):
        raise IndexError(number)
    return encode(_visible(pages, view.age or 0.0, wanted, number), rgb, ai_generated=bool(pages))


def encode(dots: Image.Image, rgb: tuple[int, int, int], *, ai_generated: bool) -> bytes:
    """Return dots as PNG: lit ones in a colour on black; machines read in it that an AI wrote the text."""
    picture = Image.composite(Image.new("RGB", dots.size, rgb), Image.new("RGB", dots.size), dots)
    told, file = PngInfo(), io.BytesIO()
    if ai_generated:
        told.add_text("ai_generated", "true")
    picture.save(file, "PNG", pnginfo=told)
    return file.getvalue()


def stacked(pages: tuple[Page, ...], profile: SignProfile) -> Image.Image:
    """Return all pages one below the other, for a picture that must show them at once."""
    tall = Image.new("1", (max((page.dots.width for page in pages), default=profile.width), 0))
    tall = tall.resize((tall.width, profile.height * max(1, len(pages))))
    for number, page in enumerate(pages):
        tall.paste(page.dots, (0, number * profile.height))
    return tall


def _visible(pages: tuple[Page, ...], age: float, wanted: Wanted, number: int | None) -> Image.Image:
    if not pages:
        return blank(wanted.profile)
    if not wanted.scroll:
        return pages[int(age / PAGE_SECONDS) % len(pages) if number is None else number].dots
    text, width = pages[0].dots, wanted.profile.width
    shift = 0 if number is not None else int(age * SCROLL_SPEED) % (text.width + width) - width
    window = blank(wanted.profile)
    window.paste(text, (-shift, 0))
    return window


def _dots_of(pages: tuple[Page, ...]) -> int:
    return sum(page.dots.width * page.dots.height for page in pages)


KEPT: LRUCache[Any, tuple[Page, ...]] = LRUCache(KEPT_DOTS, getsizeof=_dots_of)


@cached(KEPT, lock=Lock())  # a page asks every two seconds
def _pages(text: str, wanted: Wanted) -> tuple[Page, ...]:
    profile = wanted.profile
    if wanted.scroll:
        return (Page((text, AI_MARK) if wanted.ai_mark else (text,), _marked_strip(strip(text, profile), wanted)),)
    pages = [Page(tuple(lines), dots) for lines, dots in zip(layout(text, profile), render(text, profile), strict=True)]
    return _marked(pages, profile) if wanted.ai_mark else tuple(pages)


def _marked(pages: list[Page], profile: SignProfile) -> tuple[Page, ...]:
    """Put the mark into the lower right corner where it is dark on every page; else it gets a page of its own."""
    mark = _mark()
    corner = (profile.width - mark.width, profile.height - mark.height)
    if min(corner) > 0:
        around = (corner[0] - 2, corner[1] - 1, profile.width, profile.height)  # not so near that it reads as text
        if not any(page.dots.crop(around).getbbox() for page in pages):
            for page in pages:
                page.dots.paste(mark, corner)
            return tuple(pages)
    return (*pages, Page((AI_MARK,), _mark_page(profile)))


def _mark_page(profile: SignProfile) -> Image.Image:
    for font in (profile.font, Font.DOTS_8):
        try:
            return render(AI_MARK, SignProfile(profile.width, profile.height, font, profile.align))[0]
        except NotDrawable:  # too wide
            continue
    raise NotDrawable(f"The sign has no room for the mark {AI_MARK!r}.", "SIGNBOARD_GATEWAY_AI_MARK=false removes it.")


def _marked_strip(text: Image.Image, wanted: Wanted) -> Image.Image:
    if not wanted.ai_mark:
        return text
    mark, gap = strip(AI_MARK, wanted.profile), wanted.profile.height
    whole = Image.new("1", (text.width + gap + mark.width, text.height))
    whole.paste(text, (0, 0))
    whole.paste(mark, (text.width + gap, 0))
    return whole


def _mark() -> Image.Image:
    """Return the mark in the smallest font, without empty columns."""
    mark = strip(AI_MARK, SignProfile(8, 8, Font.DOTS_8))
    return mark.crop((0, 0, (mark.getbbox() or (0, 0, mark.width, 8))[2], mark.height))
