"""A park's signs: the list `signs` of `parks/<name>.yaml`, checked.

In: the file. Out: `ParkSign`s, and their drivers. Its other keys belong to the gateway and the sensors.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from core.errors import ParkError, SettingError
from core.faults import in_file
from core.sign import DEFAULT_SIGN, Sign
from signs.dabit import CELL, HOLDS, ROW, Blank, Dabit, DabitSettings, Encoding
from signs.dabit_frame import ADDRESSES
from signs.driver import Driver
from signs.line import Line, Place
from signs.matrix import Matrix, MatrixSettings

NAME = r"[a-z0-9][a-z0-9-]{0,39}"  # of a sign and of a board; it stands in addresses
HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})")
MINUTES = sorted(int(seconds / 60) for seconds in HOLDS)
TODO = "docs/signs.md explains the list."

SignName = Annotated[str, Field(pattern=f"^{NAME}$")]
Colour = Annotated[int, Field(ge=1, le=7, strict=True)]
Percent = Annotated[int, Field(ge=1, le=100, strict=True)]


@dataclass(frozen=True, slots=True)
class Hours:
    """The hours in which a sign is lit; it may end after midnight."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """Read `06:00-23:00`.

        Raises:
            ValueError: it is no such text, or begins when it ends.
        """
        if not (found := HOURS.fullmatch(text)):
            raise ValueError("write the hours as 06:00-23:00")
        begin, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
        if begin == end:
            raise ValueError("the hours begin when they end; leave them out for the whole day")
        return cls(begin, end)

    def lit(self, moment: datetime, zone: str) -> bool:
        """Return whether a sign is lit at a moment, by the clocks of its time zone."""
        now = moment.astimezone(ZoneInfo(zone)).time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end


class SignFile(BaseModel):
    """What every sign in a park's file may have."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)  # a key that is ignored is a sign misunderstood

    name: SignName | None = None  # None: the board's
    board: SignName | None = None  # None: the one of the park's sensors; without them the park's file name
    hours: str | None = None  # in which it is lit; None: always
    page_seconds: Annotated[float, Field(ge=1, le=60)] = 5
    refresh_seconds: Annotated[float, Field(ge=1, le=3600)] = 60  # between two confirmations of the same page
    colour: Colour | None = None
    brightness: Percent | None = None

    @field_validator("hours")
    @classmethod
    def _hours(cls, text: str | None) -> str | None:
        if text is not None:
            Hours.parse(text)
        return text


class DabitFile(SignFile):
    """A sign with a DABIT controller."""

    driver: Literal["dabit"]
    url: str
    size: str | None = None  # in dots; None: the park's sign, 8×16 dots a cell
    address: str = "0"
    check: bool = True
    encoding: Encoding = Encoding.EUC_KR
    blank: Blank = Blank.SPACE
    timer_minutes: int | None = None
    patience_seconds: Annotated[float, Field(ge=0.1, le=30)] = 3

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        try:
            Place.at(url)
        except SettingError as error:
            raise ValueError(f"{error.what} {error.todo}".removesuffix(".")) from error
        return url

    @field_validator("size")
    @classmethod
    def _size(cls, text: str | None) -> str | None:
        if text is not None and (not (found := SIZE.fullmatch(text)) or int(found[1]) < CELL or int(found[2]) < ROW):
            raise ValueError("write the size in dots, such as 192x48; a line has 16")
        return text

    @field_validator("address", mode="before")
    @classmethod
    def _address(cls, address: Any) -> Any:
        told = str(address).upper() if isinstance(address, str | int) and not isinstance(address, bool) else ""
        if len(told) != 1 or told not in ADDRESSES:
            raise ValueError("an address is 0, or 1 to F on RS-485")
        return told

    @field_validator("timer_minutes")
    @classmethod
    def _timer(cls, minutes: int | None) -> int | None:
        if minutes is not None and minutes not in MINUTES:
            raise ValueError(f"the controller has timers of {', '.join(map(str, MINUTES))} minutes")
        return minutes

    def settings(self, sign: Sign) -> DabitSettings:
        """Return the driver's settings.

        Args:
            sign: the park's, in cells.
        """
        found = SIZE.fullmatch(self.size or "")
        cells = DEFAULT_SIGN if not sign.lines else sign
        columns, rows = (int(found[1]) // CELL, int(found[2]) // ROW) if found else (cells.columns, cells.lines)
        return DabitSettings(
            columns,
            rows,
            self.address,
            self.check,
            self.encoding,
            self.colour,
            self.brightness,
            self.blank,
            self.timer_minutes * 60.0 if self.timer_minutes else None,
            self.patience_seconds,
        )


class MatrixFile(SignFile):
    """RGB matrix panels at this machine's GPIO."""

    driver: Literal["matrix"]
    rows: Literal[8, 16, 32, 64] = 32
    cols: Annotated[int, Field(ge=8, le=128, strict=True)] = 64
    chain_length: Annotated[int, Field(ge=1, le=32, strict=True)] = 1
    parallel: Annotated[int, Field(ge=1, le=6, strict=True)] = 1
    hardware_mapping: str = "regular"
    gpio_slowdown: Annotated[int, Field(ge=0, le=10, strict=True)] = 1
    led_rgb_sequence: Literal["RGB", "RBG", "GRB", "GBR", "BRG", "BGR"] = "RGB"
    pixel_mapper_config: str = ""
    font: Literal[8, 12, 16] | None = None

    def settings(self) -> MatrixSettings:
        """Return the driver's settings."""
        names = MatrixSettings.__slots__
        return MatrixSettings(**{name: getattr(self, name) for name in names})


AnySign = Annotated[DabitFile | MatrixFile, Field(discriminator="driver")]
SIGNS: TypeAdapter[list[DabitFile | MatrixFile]] = TypeAdapter(list[AnySign])


@dataclass(frozen=True, slots=True)
class ParkSign:
    """One sign of a park."""

    name: str
    board: str
    park: str
    timezone: str
    told: DabitFile | MatrixFile
    cells: Sign  # the park's

    @property
    def hours(self) -> Hours | None:
        """The hours in which it is lit; None: always."""
        return Hours.parse(self.told.hours) if self.told.hours else None

    @property
    def address(self) -> str:
        """Where it is, for people."""
        if isinstance(self.told, MatrixFile):
            return "gpio"
        return self.told.url if self.told.address == "0" else f"{self.told.url} address {self.told.address}"


def read_park_signs(path: Path, sign: Sign, timezone: str) -> list[ParkSign]:
    """Read the signs of one park; empty: its file has none.

    Args:
        path: the park's file.
        sign: of a park that names none.
        timezone: of a park that names none.

    Raises:
        ParkError: the file cannot be read or the list is wrong; the text says where.
    """
    try:
        told: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(told, dict) or "signs" not in told:
            return []
        cells = Sign.parse(str(told["sign"])) if told.get("sign") else sign
        files = SIGNS.validate_python(told["signs"])
    except ValidationError as error:
        raise ParkError(f"{path}, signs: {in_file(error.errors(), 'the list')}.", TODO) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ParkError(f"{path} cannot be read: {error}.", TODO) from error
    zone = str(told.get("timezone") or timezone)
    board = _sensors_board(told.get("sensors")) or path.stem
    signs = [_sign(path.stem, board, zone, cells, one) for one in files]
    for one in signs:
        _check(path, one)
    return signs


def check_signs(signs: Iterable[ParkSign]) -> None:
    """Check that no name and no place belongs to two signs.

    Raises:
        ParkError: one does.
    """
    every = list(signs)
    for what, counted in (
        ("name", Counter(one.name for one in every)),
        ("place", Counter(one.address for one in every)),
    ):
        if twice := next((name for name, count in counted.items() if count > 1), None):
            raise ParkError(f"Two signs have the {what} {twice}.", f"Give each sign a `name` and a place. {TODO}")


def read_signs(folder: Path, sign: Sign, timezone: str) -> list[ParkSign]:
    """Return the signs of every park of a folder.

    Raises:
        ParkError: a file is wrong, or two signs share a name or a place.
    """
    signs = [one for path in sorted(folder.glob("[!.]*.y*ml")) for one in read_park_signs(path, sign, timezone)]
    check_signs(signs)
    return signs


def drivers(signs: Iterable[ParkSign]) -> dict[str, Driver]:
    """Return a driver for each sign by its name; those at the same URL share one line."""
    lines: dict[str, Line] = {}
    made: dict[str, Driver] = {}
    for sign in signs:
        told = sign.told
        if isinstance(told, MatrixFile):
            made[sign.name] = Matrix(told.settings())
        else:
            line = lines.setdefault(told.url, Place.at(told.url).line())
            made[sign.name] = Dabit(line, told.settings(sign.cells))
    return made


def _sensors_board(section: Any) -> str | None:
    """Return the board that the park's sensors feed, if their section names one; the sensors check the section."""
    board = section.get("board") if isinstance(section, dict) else None
    return board if isinstance(board, str) else None


def _sign(park: str, default: str, zone: str, cells: Sign, told: DabitFile | MatrixFile) -> ParkSign:
    board = told.board or default
    return ParkSign(told.name or board, board, park, zone, told, cells)


def _check(path: Path, sign: ParkSign) -> None:
    """Check that what the park's messages are written for fits the sign."""
    told = sign.told
    if isinstance(told, MatrixFile):
        try:
            _ = told.settings().profile
        except SettingError as error:
            raise ParkError(f"{path}, sign {sign.name}: {error.what}", error.todo) from error
        return
    settings = told.settings(sign.cells)
    if sign.cells.lines and (settings.columns < sign.cells.columns or settings.rows < sign.cells.lines):
        raise ParkError(
            f"{path}, sign {sign.name}: it has {settings.columns}x{settings.rows} cells, messages have {sign.cells}.",
            f"Write `sign: {settings.columns}x{settings.rows}` into the park's file, or correct the sign's `size`.",
        )
