"""Faults of sensors, on demand: what a broken sensor, clock or network makes of a true measurement.

In: a true value and its time. Out: what is said instead, with which time, and when it arrives. `FAULTS` has them all;
`--fault` names one and says when: `85@10:00+30m`.
"""

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from core.errors import SettingError

NOTHING = timedelta(0)
NETWORK_TIME = datetime(1970, 1, 1, tzinfo=UTC)  # a clock without battery begins here

# Randomness, time since the fault began, the value at its begin, the true value → what the sensor says; None: null.
ValueChange = Callable[[random.Random, timedelta, float, float], float | None]
ClockChange = Callable[[datetime, timedelta], datetime]  # true time, time since the fault began → what the clock says
# Time since the fault began, how long it lasts, the sensor's interval → for each arrival, its delay.
Delays = Callable[[timedelta, timedelta, timedelta], tuple[timedelta, ...]]


def _true(_random: random.Random, _since: timedelta, _first: float, truth: float) -> float:
    return truth


def _right(moment: datetime, _since: timedelta) -> datetime:
    return moment


def _at_once(_since: timedelta, _lasts: timedelta, _interval: timedelta) -> tuple[timedelta, ...]:
    return (NOTHING,)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    Args:
        about: what breaks, in a few words.
        lasts: how long, unless somebody says otherwise.
        value: what the sensor says instead of the truth.
        clock: what its clock says instead of the time.
        delays: how often and how late the message arrives.
    """

    about: str
    lasts: timedelta
    value: ValueChange = _true
    clock: ClockChange = _right
    delays: Delays = _at_once


FAULTLESS = Fault("nothing", NOTHING)


def _says(value: float | None, about: str, minutes: float = 15) -> Fault:
    return Fault(about, timedelta(minutes=minutes), lambda _random, _since, _first, _truth: value)


def _open_circuit(randomness: random.Random, _since: timedelta, _first: float, _truth: float) -> float:
    return round(randomness.uniform(870, 990), 1)


def _offset(_random: random.Random, _since: timedelta, _first: float, truth: float) -> float:
    return round(truth + 8, 1)


def _spike(randomness: random.Random, _since: timedelta, _first: float, truth: float) -> float:
    return round(truth + randomness.choice((-1, 1)) * randomness.uniform(6, 20), 1)


def _spikes(randomness: random.Random, _since: timedelta, _first: float, truth: float) -> float:
    return round(truth + randomness.choice((0, 0, -8, 8, 15)), 1)


def _drift(_random: random.Random, since: timedelta, _first: float, truth: float) -> float:
    return round(truth + 0.5 * (since / timedelta(hours=1)), 1)


def _reordered(since: timedelta, _lasts: timedelta, interval: timedelta) -> tuple[timedelta, ...]:
    return (1.5 * interval if round(since / interval) % 3 == 0 else NOTHING,)


VALUE_FAULTS: dict[str, Fault] = {
    "85": _says(85.0, "DS18B20, power-on", 5),
    "-127": _says(-127.0, "DS18B20, disconnected", 180),
    "-45": _says(-45.0, "SHT, bus all zeros", 30),
    "130": _says(130.0, "SHT, bus all ones", 30),
    "-327.68": _says(-327.68, "Zigbee"),
    "327.67": _says(327.67, "LoRa"),
    "3276.7": _says(3276.7, "Modbus"),
    "-99": _says(-99.0, "KMA"),
    "-99.9": _says(-99.9, "KMA"),
    "-999": _says(-999.0, "KMA"),
    "nan": _says(math.nan, "not a number"),
    "null": _says(None, "no value"),
    "open": Fault("PT100 circuit open, 870-990", timedelta(hours=1), _open_circuit),
    "-9": _says(-9.0, "KMA"),
    "zero": _says(0.0, "dead register, 0 for hours", 300),
    "spike": Fault("one value far off", timedelta(minutes=5), _spike),
    "spikes": Fault("values that jump at random", timedelta(hours=2), _spikes),
    "offset": Fault("sun on the housing, +8 °C", timedelta(hours=6), _offset),
    "stuck": Fault("the same value for hours", timedelta(hours=10), lambda _r, _since, first, _truth: first),
    "drift": Fault("0.5 °C/h away from the truth", timedelta(hours=24), _drift),
}
CLOCK_FAULTS: dict[str, Fault] = {
    "ahead": Fault("clock 10 h ahead", timedelta(hours=4), clock=lambda at, _since: at + timedelta(hours=10)),
    "behind": Fault("clock 10 h behind", timedelta(minutes=1000), clock=lambda at, _since: at - timedelta(hours=10)),
    "1970": Fault("clock begins in 1970", timedelta(hours=2), clock=lambda _at, since: NETWORK_TIME + since),
}
DELIVERY_FAULTS: dict[str, Fault] = {
    "late": Fault(
        "buffered, all delivered at the end", timedelta(hours=3), delays=lambda since, lasts, _every: (lasts - since,)
    ),
    "reordered": Fault("every third message 1.5 intervals late", timedelta(hours=3), delays=_reordered),
    "doubled": Fault(
        "every message twice", timedelta(hours=3), delays=lambda _since, _lasts, _every: (NOTHING, NOTHING)
    ),
    "missing": Fault("nothing arrives", timedelta(hours=1), delays=lambda _since, _lasts, _every: ()),
}
FAULTS = VALUE_FAULTS | CLOCK_FAULTS | DELIVERY_FAULTS

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII)
_PLAN = re.compile(
    r"(?:(?P<sensor>[^=@]+)=)?(?P<fault>[^@]+)@"
    r"(?:(?P<clock>\d\d:\d\d)|(?P<sign>-?)(?P<after>\d[\d.]*[smhd]|now))"
    r"(?:\+(?P<lasts>\d[\d.]*[smhd]))?",
    re.ASCII,
)


def span(text: str) -> timedelta:
    """Read a span of time such as `90s`, `10m`, `26h` or `7d`.

    Raises:
        SettingError: it is none.
    """
    found = _SPAN.fullmatch(text.strip())
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]]) if found else _no_span(text)
    except OverflowError:
        return _no_span(text)


def _no_span(text: str) -> timedelta:
    raise SettingError(f"{text!r} is not a span of time.", "Write a number and s, m, h or d, such as 26h.")


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault and when it happens.

    Args:
        name: in `FAULTS`.
        sensor: whose; None: of every sensor.
        when: a time of day (in the sensor's time zone), which comes every day, or a time counted from the start.
        lasts: how long.
    """

    name: str
    sensor: str | None
    when: time | timedelta
    lasts: timedelta

    @classmethod
    def parse(cls, text: str) -> "Planned":
        """Read `[SENSOR=]FAULT@WHEN[+SPAN]`; WHEN is `10:00`, `now`, `5m` (after the start) or `-2h` (before it).

        Raises:
            SettingError: it cannot be read, or there is no such fault.
        """
        found = _PLAN.fullmatch(text.strip())
        if found is None or found["fault"] not in FAULTS:
            raise SettingError(
                f"{text!r} is not a planned fault.",
                f"Write [SENSOR=]FAULT@WHEN[+SPAN], such as 85@10:00+30m; faults: {', '.join(FAULTS)}.",
            )
        lasts = span(found["lasts"]) if found["lasts"] else FAULTS[found["fault"]].lasts
        return cls(found["fault"], found["sensor"], _when(text, found), lasts)

    def since(self, moment: datetime, start: datetime, zone: ZoneInfo) -> timedelta | None:
        """Return for how long the fault has been there at a moment; None: it is not there.

        Args:
            moment: the true time of a measurement.
            start: the simulation's.
            zone: of times of day.
        """
        if isinstance(self.when, timedelta):
            begin = start + self.when
        else:
            local = moment.astimezone(zone)
            begin = datetime.combine(local.date(), self.when, zone)
            if begin > local:
                begin = datetime.combine(local.date() - timedelta(days=1), self.when, zone)
        since = moment.astimezone(UTC) - begin.astimezone(UTC)
        return since if NOTHING <= since < self.lasts else None


def _when(text: str, found: re.Match[str]) -> time | timedelta:
    if found["clock"]:
        try:
            return time.fromisoformat(found["clock"])
        except ValueError as error:
            raise SettingError(f"{text!r} names no time of day.", "Write hours and minutes, such as 10:00.") from error
    after = NOTHING if found["after"] == "now" else span(found["after"])
    return -after if found["sign"] else after
