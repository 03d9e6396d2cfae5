"""A DABIT controller that is not there: it follows the published ASCII protocol, and lies when it is told to.

In: frames. Out: answers, and a picture of what it shows; signs/simulator_lines.py has the ports. It is written from the
protocol, not from our driver, and decodes strictly: a driver's mistake is an F or silence here.

What the vendor's pages leave open it does as docs/signs.md says; a real controller may differ there.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from PIL import Image

from core.errors import SettingError
from core.sign import cells
from signs.dabit import CELL, ROW
from signs.raster import Align, Font, SignProfile, blank, draw

FRAME = re.compile(rb"!\[(.*?)!\](..)?", re.DOTALL)
LENGTHS = {"P": 4, "D": 4, "F": 4, "E": 4, "S": 4, "X": 4, "Y": 4, "B": 3, "U": 3, "C": 1, "G": 1, "T": 1}
LONG_HOLDS = {90: 120, 91: 180, 92: 300, 93: 600, 94: 1800, 95: 3600, 96: 10800, 97: 18000, 98: 32400}  # seconds
ON, OFF = 99, 0
NAME = "DABIT 7.50 simulated"


class Lie(StrEnum):
    """What it may do instead of answering rightly."""

    SILENT = "silent"  # no answer, and nothing is done
    DEAF = "deaf"  # it does what it is told, and no answer comes back
    FAILED = "failed"  # F, and nothing is done
    GARBAGE = "garbage"  # other bytes than an answer
    LATE = "late"  # done, but the answer comes after the driver's patience
    HALF = "half"  # half an answer
    RESET = "reset"  # after a right answer it starts anew: its RAM is empty, its connections are gone
    OTHER_ADDRESS = "other-address"  # it has another address now, so it ignores the command
    CUT = "cut"  # it hangs up in the middle


@dataclass
class Shown:
    """What its RAM holds."""

    text: str
    since: float  # monotonic seconds
    until: float | None  # None: it stays


@dataclass
class Controller:
    """The controller itself, without a line.

    Args:
        size: of its screen in dots.
        address: to which it answers.
        encoding: of its fonts.
        odds: lie → how probable it is at each command.
        late: seconds for which an answer is held back by the lie `late`.
        seed: equal seeds lie equally.
        clock: monotonic seconds.
        speed: how much faster than the clock its hold times pass, for tests.
    """

    size: tuple[int, int] = (192, 48)
    address: str = "0"
    encoding: str = "euc-kr"
    odds: dict[Lie, float] = field(default_factory=dict)
    late: float = 5.0
    seed: int = 1
    clock: Callable[[], float] = time.monotonic
    speed: float = 1.0
    screen_on: bool = True
    brightness: int = 99
    commands: int = 0
    told: "Counter[Lie]" = field(default_factory=Counter)  # lies so far
    changed: Callable[[str], None] = lambda _text: None  # called with what it shows, whenever that may have changed
    _shown: Shown | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def text(self) -> str:
        """What its screen shows now; empty: nothing."""
        shown = self._shown
        if not shown or not self.screen_on or (shown.until is not None and self.clock() >= shown.until):
            return ""
        return shown.text.rstrip(" ") if shown.text.strip(" ") else ""

    def picture(self) -> Image.Image:
        """Return its screen as a bitmap, one pixel a dot."""
        width, height = self.size
        screen = blank(SignProfile(width, height, Font.DOTS_16))
        column = row = 0
        hangul = SignProfile(2 * CELL, ROW, Font.DOTS_16, Align.TOP_LEFT)
        ascii_ = SignProfile(CELL, Font.DOTS_12, Font.DOTS_12, Align.TOP_LEFT)  # our large font's digits are too wide
        for char in self.text:
            wide = cells(char)
            if (column + wide) * CELL > width:
                column, row = 0, row + 1
            if char != " " and wide == 2:
                screen.paste(draw((char,), hangul), (column * CELL, row * ROW))
            elif char != " ":
                screen.paste(draw((char,), ascii_), (column * CELL + 1, row * ROW + 3))
            column += wide
        return screen

    def reset(self) -> None:
        """Start anew, as after a power failure: the RAM is empty."""
        self._shown, self.screen_on = None, True
        self.changed(self.text)

    def lie(self) -> Lie | None:
        """Return what it will do instead at this command."""
        draw_of = self._random.random()
        for lie, odds in self.odds.items():
            draw_of -= odds
            if draw_of < 0:
                self.told[lie] += 1
                return lie
        return None

    def obey(self, frame: bytes) -> bytes:
        """Do what a frame says; return the answer, empty if the frame is not for this sign."""
        found = FRAME.fullmatch(frame)
        if not found or found[1][:1].decode("latin-1") != self.address:
            return b""
        self.commands += 1
        body, check = found[1], found[1][1:2] == b"1"
        kind = body[2:3].decode("latin-1")
        kind = kind if kind in "01" else body[2:4].decode("latin-1")
        right = not check or found[2] == _xor(frame[: found.end(1) + 2])
        said = self._do(kind, body[2 + len(kind) :]) if right else "F"
        answer = f"![0{int(check)}{kind}{said}!]".encode()
        self.changed(self.text)
        return answer + _xor(answer) if check else answer

    def _do(self, kind: str, data: bytes) -> str:
        if kind == "0":
            return self._message(data)
        if kind == "21" and data in (b"0", b"1"):
            self.screen_on = data == b"1"
            return "0"
        if kind == "50" and re.fullmatch(rb"\d\d", data):
            self.brightness = int(data)
            return "0"
        if kind == "81" and not data:
            return NAME
        return "F"

    def _message(self, data: bytes) -> str:
        try:
            text = data.decode(self.encoding)
        except UnicodeDecodeError:
            return "F"
        attributes: dict[str, str] = {}
        words: list[str] = []
        while text:
            before, slash, text = text.partition("/")
            words.append(before)
            if slash:
                name, length = text[:1], LENGTHS.get(text[:1], 0)
                value, text = text[1 : 1 + length], text[1 + length :]
                if not length or len(value) < length or not value.isdecimal():
                    return "F"
                attributes[name] = value
        self._keep("".join(words), attributes)
        return "0"

    def _keep(self, text: str, attributes: dict[str, str]) -> None:
        times, held = int(attributes.get("D", "9901")[:2]), int(attributes.get("S", "2002")[2:])
        seconds = LONG_HOLDS.get(held, held / 2)
        until = None if times == ON else self.clock() + times * seconds / self.speed
        self._shown = Shown(text, self.clock(), until) if times != OFF else None


def _xor(frame: bytes) -> bytes:
    value = 0
    for byte in frame:
        value ^= byte
    return f"{value:02X}".encode()


def read_odds(texts: Iterable[str]) -> dict[Lie, float]:
    """Read lies such as `late@0.1`: a lie, and how probable it is at each command.

    Raises:
        SettingError: a text has another form, or together they are more than certain.
    """
    odds: dict[Lie, float] = {}
    for text in texts:
        name, _, share = text.partition("@")
        try:
            odds[Lie(name)] = float(share)
        except ValueError as error:
            raise SettingError(f"{text!r} is no lie: {error}.", f"Write {'|'.join(Lie)}@0.1.") from error
    if not all(0 <= share <= 1 for share in odds.values()) or sum(odds.values()) > 1:
        raise SettingError("The lies are more than certain.", "Their shares must be at most 1 together.")
    return odds
