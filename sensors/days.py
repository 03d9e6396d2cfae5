"""Yesterday and today: a park's checked observations → a `Reading`, or the reason why there is none.

In: the checked observations of each of the park's sensors, in the park's order. Out: a `Comparison` or a `NoReading`.
Pure. docs/sensors-rules.md says what happens at the day's beginning, with gaps, with a replaced sensor.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from statistics import median
from zoneinfo import ZoneInfo

from core.errors import ReadingError
from core.reading import Reading
from sensors.observation import Observation
from sensors.quality import FROZEN, MISPLACED, Checked, Flag

AROUND = timedelta(minutes=10)  # what counts as the same time
MAX_AGE = timedelta(minutes=30)  # an older observation is not "now"
DAY = timedelta(hours=24)
DAY_MAX_FROM = time(15)  # local; in Korea the day's maximum lies between 13 and 16 o'clock
WARM_HOURS = range(9, 18)  # local hours in which a maximum is looked for …
WARM_SHARE = 0.8  # … and the share of them that must have data: one hour of nine may be missing


class Mode(StrEnum):
    """What is compared."""

    SAME_TIME = "same_time"  # now and 24 h ago
    DAY_MAX = "day_max"  # today's maximum so far and yesterday's


class Choice(StrEnum):
    """Which of several sensors count."""

    FIRST_GOOD = "first_good"  # the first in the park's order that has both days
    MEDIAN = "median"  # the median of all that have both days


class NoReading(StrEnum):
    """Why there is nothing to compare."""

    NO_CURRENT = "no_current"
    NO_YESTERDAY = "no_yesterday"
    SENSOR_BAD = "sensor_bad"
    TOO_EARLY = "too_early"
    UNUSUAL = "unusual"

    @property
    def korean(self) -> str:
        """What the page says."""
        return KOREAN[self]


KOREAN = {
    NoReading.NO_CURRENT: "현재 자료 없음",
    NoReading.NO_YESTERDAY: "어제 자료 없음",
    NoReading.SENSOR_BAD: "센서 이상",
    NoReading.TOO_EARLY: "15시 이후 비교",
    NoReading.UNUSUAL: "표출 범위를 벗어난 기온",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A reading and what it was made from.

    `measured_at` is the newest observation's time: the reading's age counts from it. `used` has every observation that
    took part, `sensors` the sensors of today's value.
    """

    reading: Reading
    measured_at: datetime
    sensors: tuple[str, ...]
    used: tuple[Observation, ...]


_Days = tuple[list[Observation], list[Observation]]  # good ones: yesterday's, today's


@dataclass(frozen=True, slots=True)
class _Pair:
    """One sensor's good observations of both days."""

    sensor: str
    yesterday: list[Observation]
    today: list[Observation]


def reading(
    observations: Mapping[str, Sequence[Checked]],
    now: datetime,
    timezone: str,
    mode: Mode = Mode.SAME_TIME,
    choice: Choice = Choice.FIRST_GOOD,
    *,
    replaced: Mapping[str, str] | None = None,
    max_age: timedelta = MAX_AGE,
) -> Comparison | NoReading:
    """Compare today with yesterday.

    Args:
        observations: sensor → its observations since yesterday's midnight, or of 25 h for `same_time`, in the order of
            measurement. The sensors stand in the park's order.
        now: the time of the comparison, aware.
        timezone: the park's; it says where days begin. `same_time` needs none.
        mode: what is compared.
        choice: which sensors count.
        replaced: new sensor → the one whose place it took; only there yesterday may come from another than today.
        max_age: how old the newest observation of `same_time` may be.

    Returns:
        The comparison in whole °C, or why there is none.
    """
    local = now.astimezone(ZoneInfo(timezone))
    if mode is Mode.DAY_MAX and local.time() < DAY_MAX_FROM:
        return NoReading.TOO_EARLY
    pairs: list[_Pair] = []
    missing: set[NoReading] = set()
    for sensor, series in observations.items():
        before = [series, observations.get((replaced or {}).get(sensor, ""), ())]
        found = _same_time(series, before, now, max_age) if mode is Mode.SAME_TIME else _day_max(series, before, local)
        if isinstance(found, NoReading):
            missing.add(found)
        else:
            pairs.append(_Pair(sensor, *found))
    if not pairs:  # the reason of the sensor that came furthest
        return next(
            (why for why in (NoReading.NO_YESTERDAY, NoReading.SENSOR_BAD) if why in missing), NoReading.NO_CURRENT
        )
    return _compare(pairs[:1] if choice is Choice.FIRST_GOOD else pairs, mode)


def _compare(pairs: list[_Pair], mode: Mode) -> Comparison | NoReading:
    """Make the reading; it rounds, once, both temperatures. Their change is the difference of the rounded ones."""
    merge: Callable[[list[Decimal]], Decimal] = median if mode is Mode.SAME_TIME else max
    yesterday = median([merge(_exact(pair.yesterday)) for pair in pairs])
    today = median([merge(_exact(pair.today)) for pair in pairs])
    try:
        rounded = Reading.of(float(yesterday), float(today))
    except ReadingError:
        return NoReading.UNUSUAL
    return Comparison(
        rounded,
        max(one.measured_at for pair in pairs for one in pair.today),
        tuple(pair.sensor for pair in pairs),
        tuple(one for pair in pairs for one in (*pair.yesterday, *pair.today)),
    )


def _exact(observations: list[Observation]) -> list[Decimal]:
    """Return the values as decimals: the middle of two must not be 2.4999… where it is 2.5."""
    return [Decimal(str(one.value)) for one in observations]


# Which observations count


def _same_time(
    series: Sequence[Checked], before: list[Sequence[Checked]], now: datetime, max_age: timedelta
) -> _Days | NoReading:
    """Return the good observations around 24 h before the newest one, and those of the last minutes.

    24 h by the sun, not by the clock: where clocks change, the same hour was 23 or 25 h ago, and the air does not know.
    """
    current = _between(series, now - max_age, now + AROUND)
    today = _good(series, current)
    if not today:
        return NoReading.SENSOR_BAD if current else NoReading.NO_CURRENT
    newest = today[-1].measured_at
    start, end = newest - DAY - AROUND, newest - DAY + AROUND
    yesterday = _first_filled(_good(one, _between(one, start, end)) for one in before)
    if not yesterday:
        return NoReading.NO_YESTERDAY
    return yesterday, [one for one in today if newest - one.measured_at <= AROUND]


def _day_max(series: Sequence[Checked], before: list[Sequence[Checked]], local: datetime) -> _Days | NoReading:
    """Return the good observations of yesterday's and today's calendar day, if enough of the warm hours have some."""
    midnight, yesterdays = _midnight(local), _midnight(local - DAY)
    current = _between(series, midnight, local)
    today = _good(series, current)
    if not _complete(today, local, local.hour):
        every = [series[index].observation for index in current]
        return NoReading.SENSOR_BAD if _complete(every, local, local.hour) else NoReading.NO_CURRENT
    days = (_good(one, _between(one, yesterdays, midnight - datetime.resolution)) for one in before)
    yesterday = _first_filled(day for day in days if _complete(day, local, 24))
    return (yesterday, today) if yesterday else NoReading.NO_YESTERDAY


def _midnight(local: datetime) -> datetime:
    """Return when a local day began, in UTC: Python compares times of one zone by the clock on the wall."""
    return datetime.combine(local.date(), time(), local.tzinfo).astimezone(UTC)


def _complete(observations: list[Observation], local: datetime, before_hour: int) -> bool:
    """Return whether enough of a day's warm hours that are over have an observation."""
    wanted = {hour for hour in WARM_HOURS if hour < before_hour}
    present = {one.measured_at.astimezone(local.tzinfo).hour for one in observations}
    return len(wanted & present) >= WARM_SHARE * len(wanted)


def _first_filled(candidates: Iterable[list[Observation]]) -> list[Observation]:
    return next((one for one in candidates if one), [])


def _between(series: Sequence[Checked], start: datetime, end: datetime) -> range:
    """Return the indices of what was measured from start to end, both included."""
    first = bisect_left(series, start, key=_measured)
    return range(first, bisect_right(series, end, lo=first, key=_measured))


def _measured(checked: Checked) -> datetime:
    return checked.observation.measured_at


def _good(series: Sequence[Checked], indices: range) -> list[Observation]:
    return [series[index].observation for index in indices if _usable(series, index)]


def _usable(series: Sequence[Checked], index: int) -> bool:
    """Return whether an observation is good, and no part of a run of equal values that turned out to be a fault."""
    if series[index].flag is not Flag.GOOD:
        return False
    for position in range(index + 1, len(series)):
        later = series[position]
        if not MISPLACED.isdisjoint(later.reasons):
            continue
        if later.observation.value != series[index].observation.value:
            return True
        if not FROZEN.isdisjoint(later.reasons):
            return False
    return True
