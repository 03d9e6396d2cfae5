"""Drive a DABIT (DIBD, LMD) controller by its ASCII protocol, with messages in its RAM only.

In: pages of lines. Out: confirmed commands. docs/signs.md says what is known of the protocol, from where, and what is
not. The controller draws with its own fonts of 8×16 and 16×16 dots, and lets text flow from line to line; so each line
is filled up with spaces to the sign's width, as other programs for it do.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from core.sign import cells
from signs import dabit_frame as frames
from signs.errors import NotDrawable, SignError, SignRefused, SignTooLate
from signs.layout import Page, paginate
from signs.line import Line, Make

CELL, ROW = 8, 16  # dots of the controller's fonts
# Seconds for which a message is held → its code in the attribute S. Below a minute a code is half a second.
HOLDS = {120.0: 90, 180.0: 91, 300.0: 92, 600.0: 93, 1800.0: 94, 3600.0: 95, 10800.0: 96, 18000.0: 97, 32400.0: 98}
SHORT_HOLD = 40.0  # seconds, the longest of the short ones
SPEED = "20"  # the controller's default; it matters for effects only, and we use none
NO_HOLD = 0.5  # seconds; for less it is not worth showing
TOO_LATE = "Show what its board shows now."


class Encoding(StrEnum):
    """How text is sent."""

    EUC_KR = "euc-kr"  # KS X 1001 only: what the controller's Korean fonts have
    CP949 = "cp949"  # all Hangul, for controllers whose fonts have them
    UTF_8 = "utf-8"


class Blank(StrEnum):
    """How the screen is emptied."""

    SPACE = "space"  # a message of one space
    SCREEN_OFF = "screen-off"  # the special command, from firmware 7.5 on


@dataclass(frozen=True, slots=True)
class DabitSettings:
    """One sign on a line."""

    columns: int  # cells of 8 dots
    rows: int  # lines of 16 dots
    address: str = "0"
    check: bool = True  # check characters
    encoding: Encoding = Encoding.EUC_KR
    colour: int | None = None  # 1-7; None: the controller's, yellow
    brightness: int | None = None  # percent; None: as the controller is set
    blank: Blank = Blank.SPACE
    timer: float | None = None  # seconds after which the controller takes a message away by itself; None: never
    patience: float = 3.0  # seconds for an answer


def hold(seconds: float) -> tuple[str, float]:
    """Return the code of the longest time within these seconds for which it holds a message, and that time."""
    long = max((time for time in HOLDS if time <= seconds), default=None)
    if long is not None:
        return f"{HOLDS[long]:02}", long
    halves = int(min(seconds, SHORT_HOLD) * 2)
    return f"{halves:02}", halves / 2


class Dabit:
    """A sign with a DABIT controller.

    Args:
        line: leads to it, perhaps to others too.
        settings: how it is set up.
        monotonic: a clock in seconds that never steps.
    """

    def __init__(self, line: Line, settings: DabitSettings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._line = line
        self._settings = settings
        self._monotonic = monotonic
        self._connection = 0  # of the line, at the sign's last answer
        self._bright = settings.brightness is None  # whether it has the brightness that it should have

    def with_timer(self, seconds: float) -> "Dabit":
        """Return a driver of the same sign that uses the controller's timer."""
        return Dabit(self._line, replace(self._settings, timer=seconds), self._monotonic)

    def pages(self, text: str) -> list[Page]:
        """Lay a text out in the controller's cells.

        Raises:
            NotDrawable: a word is wider than the sign, or the protocol or the encoding has no place for a character.
        """
        if "/" in text or "!]" in text:
            raise NotDrawable(
                "The text has / or !], which are commands to a DABIT sign.", "The protocol has no way to send them."
            )
        self._encoded(text)
        return paginate(text, self._settings.columns, self._settings.rows, cells, "cells")

    async def show(self, page: Page, left: float) -> float | None:
        """Show a page from the controller's RAM.

        Raises:
            NotDrawable: a character cannot be encoded.
            SignTooLate: too little is left; the page was not sent.
            SignError: it is not confirmed.
        """
        until = self._monotonic() + left
        columns = self._settings.columns
        *full, last = page
        text = self._encoded("".join(line + " " * (columns - cells(line)) for line in full) + last)
        held: float | None = None

        def data() -> bytes:
            nonlocal held
            attributes, held = self._attributes(until)  # only now: other signs may have had the line for long
            return attributes.encode() + text

        def on() -> bytes:
            self._left(until)
            return b"1"

        await self._set_brightness()
        await self._tell(frames.REAL_TIME, data)
        if self._settings.blank is Blank.SCREEN_OFF:
            await self._tell(frames.SCREEN, on)
        return held

    async def blank(self) -> None:
        """Empty the screen.

        Raises:
            SignError: it is not confirmed.
        """
        await self._tell(frames.REAL_TIME, lambda: b" ")
        if self._settings.blank is Blank.SCREEN_OFF:
            await self._tell(frames.SCREEN, lambda: b"0")

    async def status(self) -> str:
        """Return the controller's firmware; those before 7.5 do not know the question.

        Raises:
            SignError: there is no answer, or it does not know.
        """
        answer = await self._ask(frames.FIRMWARE, bytes)
        if answer.failed:
            raise SignRefused("The sign does not say its firmware.", "Before 7.5 it cannot; messages may still work.")
        return f"firmware {answer.said.strip()}"

    @property
    def lost(self) -> bool:
        """Whether the line broke since the sign's last answer, even if another sign opened it again."""
        return self._line.lost or self._line.connections != self._connection

    async def close(self) -> None:
        """Leave the line."""
        await self._line.close()

    def _left(self, until: float) -> float:
        if (left := until - self._monotonic()) <= 0:
            raise SignTooLate("The page's time is over.", TOO_LATE)
        return left

    def _attributes(self, until: float) -> tuple[str, float | None]:
        left = self._left(until)
        colour = f"/C{self._settings.colour}" if self._settings.colour else ""
        if self._settings.timer is None:
            return colour, None
        # The controller counts from when the command arrives, which may be as late as we wait for its answer.
        code, held = hold(max(0.0, min(self._settings.timer, left - self._settings.patience)))
        if held < NO_HOLD:
            raise SignTooLate("The page has too little time left.", TOO_LATE)
        return f"/D0101/S{SPEED}{code}{colour}", held  # shown once, for that long, on a cleared screen

    async def _set_brightness(self) -> None:
        """Set it once, and again after the line was lost: the controller may have started anew."""
        if self._settings.brightness is not None and (not self._bright or self.lost):
            percent = min(99, self._settings.brightness)
            await self._tell(frames.BRIGHTNESS, lambda: b"%02d" % percent)
            self._bright = True

    async def _tell(self, kind: str, data: Make) -> None:
        if not (answer := await self._ask(kind, data)).done:
            raise SignRefused(
                f"The sign at {self._line.url} answered {answer.said!r} instead of done.",
                "A special command needs firmware 7.5; else see the controller's manual.",
            )

    async def _ask(self, kind: str, data: Make) -> frames.Answer:
        settings = self._settings

        def make() -> bytes:
            return frames.command(settings.address, kind, data(), check=settings.check)

        def find(received: bytes) -> frames.Answer | None:
            frame = frames.find_answer(received)
            return frames.read_answer(frame, kind, check=settings.check) if frame else None

        try:
            answer = await self._line.ask(make, find, settings.patience)
        except SignTooLate:  # nothing was sent
            raise
        except SignError:
            self._bright = settings.brightness is None  # it may have started anew
            raise
        if self._connection != self._line.connections:
            self._connection, self._bright = self._line.connections, settings.brightness is None
        return answer

    def _encoded(self, text: str) -> bytes:
        encoding = self._settings.encoding
        try:
            single = [char.encode(encoding) for char in text]
        except UnicodeEncodeError as error:
            raise _lacking(error.object, encoding) from error
        # Python's euc-kr writes Hangul that KS X 1001 lacks as eight bytes of single letters; signs show the letters.
        if encoding is not Encoding.UTF_8 and any(len(code) > 2 for code in single):
            raise _lacking(next(char for char, code in zip(text, single, strict=True) if len(code) > 2), encoding)
        return b"".join(single)


def _lacking(char: str, encoding: Encoding) -> NotDrawable:
    return NotDrawable(
        f"{char!r} is not in {encoding}.", "If the sign's fonts have it, set its `encoding` to cp949 or utf-8."
    )
