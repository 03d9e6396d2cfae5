"""Quality control: one new observation, what the sensor and its neighbours said before → a flag and its reasons.

In: an `Observation`, the checked ones of the same sensor around it, the latest ones of the park's other sensors.
Out: a `Checked`. Pure: no clock, no store, no state. The rules follow those of weather services (WMO, KMA), fitted to
sensors that report every few seconds to every hour. docs/sensors-rules.md has them as a table.

Nothing is deleted, and only good observations are compared: doubtful and bad differ for the people who look at them.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise, takewhile
from statistics import median

from core.reading import AIR_LIMITS
from sensors.observation import Observation


class Flag(StrEnum):
    """How far an observation is trusted. Only good ones are compared."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


class Reason(StrEnum):
    """Why an observation is not good."""

    NOT_FINITE = "not_finite"  # NaN or infinite
    FAULT_VALUE = "fault_value"  # a number by which sensors and networks say "no value"
    RANGE = "range"  # no air temperature of a park
    FUTURE = "future"  # measured after it was received
    TOO_LATE = "too_late"  # so old that a broken clock is likelier than a full buffer
    CLOCK = "clock"  # always late by the same time: the sensor's clock is behind
    OUT_OF_ORDER = "out_of_order"  # older than the newest, at a time that misses no observation
    QUEUED = "queued"  # without a time of its own, after a silence: it may have waited in a queue
    DOUBLED = "doubled"  # the same time and value once more
    CONFLICT = "conflict"  # the same time, another value
    SENTINEL = "sentinel"  # a jump to a number that is also a temperature, such as exactly 0 or -9
    STEP = "step"  # changes faster than air does
    UNCHANGED = "unchanged"  # the same value for hours
    STUCK = "stuck"  # the same value for twice as long
    ZERO_RUN = "zero_run"  # exactly 0.0 for hours
    LEFT_BEHIND = "left_behind"  # the same value while the other sensors moved
    DEVIATION = "deviation"  # far from the park's other sensors
    SETTLING = "settling"  # near them again, after a long deviation, and not yet for long


BAD = frozenset({
    Reason.NOT_FINITE, Reason.FAULT_VALUE, Reason.RANGE, Reason.FUTURE, Reason.STUCK, Reason.ZERO_RUN,
})  # fmt: skip
# The value stopped following the air. Its earlier observations of the same run are then no better than the last.
FROZEN = frozenset({Reason.UNCHANGED, Reason.STUCK, Reason.ZERO_RUN, Reason.LEFT_BEHIND})
# The value is possible, and only unlike what it is compared with. Such observations still stand for their place when
# another sensor is judged: in a front every sensor is unlike its past, and together they show the front.
UNLIKE = frozenset({Reason.STEP, Reason.DEVIATION, Reason.SETTLING})
# The time is wrong or taken: such an observation is no neighbour of others, whatever its value.
MISPLACED = frozenset({
    Reason.FUTURE, Reason.TOO_LATE, Reason.CLOCK, Reason.OUT_OF_ORDER, Reason.QUEUED, Reason.DOUBLED, Reason.CONFLICT,
})  # fmt: skip

# °C. DS18B20: 85 (power-on), -127 (disconnected). SHT3x: 130 and -45 (bus reads all ones or zeros). Zigbee, LoRa and
# Modbus: the ends of a 16-bit integer. Weather files: -99 and its relatives. All lie outside AIR_LIMITS, too; their own
# reason tells the operator what broke.
FAULT_VALUES = frozenset({
    85.0, -127.0, 130.0, -45.0, 327.67, -327.68, 327.68, 3276.7, -3276.7, -3276.8, 655.35, 6553.5, 65535.0, -32768.0,
    32767.0, -99.0, -99.9, -999.0, -999.9, -9999.0, 999.0, 999.9, 9999.0,
})  # fmt: skip
# °C. Faults that are also weather: a dead register (0, in °F -17.78), KMA's "no value", the end of a sensor's range.
SENTINELS = frozenset({0.0, -9.0, -17.78, -40.0})
SENTINEL_SHARE = 1 / 3  # of the allowed step: weather comes to such a value in small steps, a fault jumps to it
SENTINEL_SPREAD = 1.0  # °C; how far such a value may be from the other sensors

DAY = timedelta(hours=24)
FUTURE_LIMIT = timedelta(minutes=5)  # a clock may be ahead by this much
LATE_LIMIT = timedelta(hours=48)  # later than this, no comparison of two days uses it
CLOCK_LIMIT = timedelta(minutes=15)  # a constant delay of more than this is a wrong clock
STEP_MEMORY = timedelta(minutes=60)  # after a longer gap any change is possible: no step test
STEP_PER_MINUTE = 3.0  # °C in one minute
CONFIRMATIONS = 3  # a new level is believed at the third value in a row that agrees …
CONFIRMATION_TIME = timedelta(minutes=10)  # … and after this time, so that no short disturbance gets there
NEAR = timedelta(minutes=15)  # the other sensors' observations count this long
OTHERS_NEEDED = 2
LONG_DEVIATION = timedelta(minutes=15)  # from here on a sensor must agree for …
SETTLING_TIME = timedelta(minutes=20)  # … before it counts again; no front takes longer to reach a whole park
UNCHANGED_LIMIT = timedelta(minutes=180)
UNCHANGED_LONGEST = timedelta(hours=15)  # whole °F on a maritime coast stay longer in 0.4 % of a year's hours
YESTERDAY_AFTER = timedelta(hours=6)  # from here on a value that may stay must also have done so …
YESTERDAY_MOVED = 3.0  # … a day ago: °C, and two steps of the sensor
COARSEST = 2.0  # °C; no thermometer rounds more than this
LEFT_BEHIND_AFTER = timedelta(minutes=20)
LEFT_BEHIND_BY = 1.0  # °C
FEWEST_UNCHANGED = 4  # observations; two equal ones with a gap between are a coincidence
MISSING_AFTER = 3  # intervals without any observation


@dataclass(frozen=True, slots=True)
class Checked:
    """An observation with its flag and reasons.

    `deviation` is its distance to the median of the park's other sensors in °C; None: too few of them were good.
    """

    observation: Observation
    flag: Flag
    reasons: tuple[Reason, ...] = ()
    deviation: float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What is known of a sensor.

    Args:
        interval: the longest usual time between two observations.
        resolution: the smallest change that the sensor can report, °C.
        spread: how far the sensor may be from the median of the park's other sensors, °C.
        told: somebody stated the resolution, so what the sensor shows does not count.
    """

    interval: timedelta = timedelta(minutes=5)
    resolution: float = 0.1
    spread: float = 3.0
    told: bool = False

    def showing(self, resolution: float | None) -> "Rules":
        """Return the rules of a sensor whose changes show a resolution; None: not known yet."""
        if self.told or resolution is None or resolution <= self.resolution:
            return self
        return replace(self, resolution=min(resolution, COARSEST))

    @property
    def unchanged_limit(self) -> timedelta:
        """How long the value may stay the same: 3 h at 0.1 °C, longer for coarser sensors, 15 h at most."""
        return min(UNCHANGED_LIMIT * max(1.0, self.resolution / 0.1), UNCHANGED_LONGEST)

    @property
    def window(self) -> timedelta:
        """How far before a new observation `check` looks."""
        limit = self.unchanged_limit
        return max(2 * limit, DAY + limit if limit > YESTERDAY_AFTER else limit) + self.longest_gap

    @property
    def longest_gap(self) -> timedelta:
        """A longer pause ends a run of equal values."""
        return max(timedelta(hours=1), 3 * self.interval)


def check(
    new: Observation, recent: Sequence[Checked], others: Iterable[Checked], rules: Rules | None = None
) -> Checked:
    """Flag a new observation.

    Args:
        new: the observation; its key is new (the store drops repeated keys).
        recent: the same sensor's observations, measured from `rules.window` before the new one up to the newest, in the
            order of measurement.
        others: of each of the park's other sensors the latest observation that `counts_for_others`.
        rules: what is known of the sensor.
    """
    rules = rules or Rules()
    if impossible := _impossible_value(new.value):
        return Checked(new, Flag.BAD, (impossible,))
    split = bisect_left(recent, new.measured_at, key=_measured)
    deviation = _deviation(new, others, rules)
    fault = _time_fault(new, recent, split, rules)
    reasons = [fault] if fault else _value_reasons(new, recent, split, deviation, rules)
    if deviation is not None and abs(deviation) > rules.spread:
        reasons.append(Reason.DEVIATION)
    elif not reasons and _settling(new, recent[:split], judged=deviation is not None):
        reasons.append(Reason.SETTLING)
    return Checked(new, _worst(reasons), tuple(reasons), deviation)


def allowed_step(gap: timedelta) -> float:
    """Return by how many °C air may change between two observations.

    3 °C in a minute, and with the cube root of the time from there: 5.1 in 5 minutes, 6.5 in 10, 11.7 in an hour. In
    turbulent air typical differences grow with the cube root of the time between them; growth in proportion would allow
    30 °C in 10 minutes. Below a minute the limit stays.
    """
    minutes = max(1.0, gap.total_seconds() / 60)
    return STEP_PER_MINUTE * math.cbrt(minutes)


def counts_for_others(checked: Checked) -> bool:
    """Return whether an observation says something about the air in the park, good or not."""
    return UNLIKE.issuperset(checked.reasons)


def is_missing(latest: Checked | None, now: datetime, rules: Rules) -> bool:
    """Return whether a sensor is silent: nothing, good or bad, arrived for three intervals."""
    return latest is None or now - latest.observation.received_at > MISSING_AFTER * rules.interval


def _measured(checked: Checked) -> datetime:
    return checked.observation.measured_at


def _worst(reasons: list[Reason]) -> Flag:
    if not reasons:
        return Flag.GOOD
    return Flag.DOUBTFUL if BAD.isdisjoint(reasons) else Flag.BAD


def _impossible_value(value: float) -> Reason | None:
    if not math.isfinite(value):
        return Reason.NOT_FINITE
    if round(value, 2) in FAULT_VALUES:
        return Reason.FAULT_VALUE
    low, high = AIR_LIMITS
    return None if low <= value <= high else Reason.RANGE


def _deviation(new: Observation, others: Iterable[Checked], rules: Rules) -> float | None:
    """Return the distance to the median of the other sensors' observations of about the same time, °C."""
    values = [
        one.observation.value
        for one in others
        if counts_for_others(one) and abs(one.observation.measured_at - new.measured_at) <= NEAR
    ]
    if len(values) < OTHERS_NEEDED:
        return None
    if len(values) == OTHERS_NEEDED and abs(values[0] - values[1]) > rules.spread:
        return None  # one of the two is wrong, and nobody knows which
    return new.value - median(values)


# Time


def _time_fault(new: Observation, recent: Sequence[Checked], split: int, rules: Rules) -> Reason | None:
    """Say what is wrong with the time of measurement."""
    late = new.received_at - new.measured_at
    if late < -FUTURE_LIMIT:
        return Reason.FUTURE
    if late > LATE_LIMIT:
        return Reason.TOO_LATE
    if late > CLOCK_LIMIT and _always_late(new, recent, rules):
        return Reason.CLOCK
    if not new.timed and _after_silence(new, recent, rules):
        return Reason.QUEUED
    return _place_fault(new, recent, split, rules)


def _place_fault(new: Observation, recent: Sequence[Checked], split: int, rules: Rules) -> Reason | None:
    """Say why the observation has no place in the series: its time is taken, or nothing is missing there."""
    after = next(_placed(recent[split:]), None)
    if after is None:
        return None
    if after.observation.measured_at == new.measured_at:
        return Reason.DOUBLED if after.observation.value == new.value else Reason.CONFLICT
    before = next(_placed(reversed(recent[:split])), None)
    # A delayed observation fills a hole in the series. Where there is no hole, it was measured at another time.
    if before is not None and _measured(after) - _measured(before) < 1.5 * rules.interval:
        return Reason.OUT_OF_ORDER
    return None


def _placed(series: Iterable[Checked]) -> Iterator[Checked]:
    return (one for one in series if MISPLACED.isdisjoint(one.reasons))


def _always_late(new: Observation, recent: Sequence[Checked], rules: Rules) -> bool:
    """Return whether the observation that arrived before this one, at the usual distance, was just as late.

    A buffer that is emptied arrives at once; a clock that is behind keeps its distance.
    """
    if not recent:
        return False
    last = max(recent, key=lambda one: one.observation.received_at).observation
    pause, advance = new.received_at - last.received_at, new.measured_at - last.measured_at
    return pause > rules.interval / 2 and abs(pause - advance) < rules.interval / 2


def _after_silence(new: Observation, recent: Sequence[Checked], rules: Rules) -> bool:
    """Return whether an observation without its own time may have waited in a broker's queue.

    That is the first one after two silent intervals, and those that follow it at once.
    """
    if not recent:
        return True
    last = recent[-1]
    pause = new.received_at - last.observation.received_at
    return pause > 2 * rules.interval or (Reason.QUEUED in last.reasons and pause < rules.interval / 2)


# Value


def _value_reasons(
    new: Observation, recent: Sequence[Checked], split: int, deviation: float | None, rules: Rules
) -> list[Reason]:
    reasons = _step_reasons(new, recent, split, deviation, rules)
    if next(_placed(recent[split:]), None) is None:  # a delayed observation does not say how long a run lasts
        reasons += _run_reasons(new, recent, deviation, rules)
    return reasons


def _step_reasons(
    new: Observation, recent: Sequence[Checked], split: int, deviation: float | None, rules: Rules
) -> list[Reason]:
    """Compare with the good neighbours in time, the one before and, if the observation is delayed, the one after."""
    reach = max(STEP_MEMORY, 1.5 * rules.interval)
    neighbours = [
        (abs(new.value - found.observation.value), allowed_step(abs(new.measured_at - _measured(found))))
        for side in (recent[split:], reversed(recent[:split]))
        if (found := _first_good(_within(new, side, reach)))
    ]
    if round(new.value, 2) in SENTINELS and not _is_weather(neighbours, deviation, rules):
        return [Reason.SENTINEL]
    if all(step <= allowed + rules.resolution for step, allowed in neighbours):
        return []
    # A front comes to all sensors: a step to where the others are is weather.
    agreed = deviation is not None and abs(deviation) <= rules.spread
    return [] if agreed or _new_level(new, recent[:split], rules) else [Reason.STEP]


def _first_good(series: Iterable[Checked]) -> Checked | None:
    return next((one for one in series if one.flag is Flag.GOOD), None)


def _within(new: Observation, series: Iterable[Checked], reach: timedelta) -> Iterator[Checked]:
    return takewhile(lambda one: abs(new.measured_at - one.observation.measured_at) <= reach, series)


def _settling(new: Observation, earlier: Sequence[Checked], *, judged: bool) -> bool:
    """Return whether the sensor deviated for long, and has not agreed with the others for long enough since.

    In a front, a sensor that is wrong by as much as the front meets the others' last values for some intervals. While
    there are no others to agree with, the sensor stays out as long as its deviation is in the window.
    """
    if not earlier or _first_good(_within(new, reversed(earlier), LONG_DEVIATION)):
        return False
    lately = _within(new, reversed(earlier), SETTLING_TIME) if judged else earlier
    return any(Reason.DEVIATION in one.reasons for one in lately)


def _is_weather(neighbours: list[tuple[float, float]], deviation: float | None, rules: Rules) -> bool:
    """Return whether a sentinel is the temperature: the other sensors say so, or it came there by a small step."""
    if deviation is not None:
        return abs(deviation) <= max(SENTINEL_SPREAD, rules.resolution)
    return any(step <= max(allowed * SENTINEL_SHARE, rules.resolution) + 1e-6 for step, allowed in neighbours)


def _new_level(new: Observation, earlier: Sequence[Checked], rules: Rules) -> bool:
    """Return whether the observations just before were rejected for their step only, and agree with the new one."""
    rejected = takewhile(lambda one: one.reasons == (Reason.STEP,), reversed(earlier))
    level = [new, *(one.observation for one in _within(new, rejected, STEP_MEMORY))]
    agreeing = 1
    for later, before in pairwise(level):
        limit = allowed_step(later.measured_at - before.measured_at) + rules.resolution
        if abs(later.value - before.value) > limit:
            break
        agreeing += 1
    lasted = new.measured_at - level[agreeing - 1].measured_at
    return agreeing >= CONFIRMATIONS and lasted >= CONFIRMATION_TIME


def _run_reasons(new: Observation, recent: Sequence[Checked], deviation: float | None, rules: Rules) -> list[Reason]:
    """Say what is wrong with a value that does not change."""
    run = _run(new, recent, rules)
    if len(run) + 1 < FEWEST_UNCHANGED:
        return []
    lasted, limit = new.measured_at - run[-1].observation.measured_at, rules.unchanged_limit
    if lasted >= 2 * limit:
        return [Reason.STUCK]
    if new.value == 0 and lasted >= limit * 2 / 3:
        return [Reason.ZERO_RUN]
    if lasted >= limit or (lasted >= YESTERDAY_AFTER and _moved_yesterday(new, lasted, recent, rules)):
        return [Reason.UNCHANGED]
    start = next((one.deviation for one in reversed(run) if one.deviation is not None), None)
    if deviation is None or start is None or lasted < LEFT_BEHIND_AFTER:
        return []
    return [Reason.LEFT_BEHIND] if abs(deviation - start) > LEFT_BEHIND_BY + rules.resolution else []


def _moved_yesterday(new: Observation, lasted: timedelta, recent: Sequence[Checked], rules: Rules) -> bool:
    """Return whether the value, which stands still since some hours, moved by degrees in these hours of yesterday.

    A coarse sensor may stand still on a dull day, and a dull day mostly follows a dull day.
    """
    end = bisect_right(recent, new.measured_at - DAY, key=_measured)
    first = bisect_left(recent, new.measured_at - DAY - lasted, hi=end, key=_measured)
    values = [one.observation.value for one in recent[first:end] if one.flag is Flag.GOOD]
    return bool(values) and max(values) - min(values) > YESTERDAY_MOVED + 2 * rules.resolution


def _run(new: Observation, recent: Sequence[Checked], rules: Rules) -> list[Checked]:
    """Return the observations before the new one that have its value, newest first. Impossible values do not end it."""
    run: list[Checked] = []
    last = new
    for one in reversed(recent):
        if not MISPLACED.isdisjoint(one.reasons) or _impossible_value(one.observation.value):
            continue
        if one.observation.value != new.value or last.measured_at - one.observation.measured_at > rules.longest_gap:
            break
        run.append(one)
        last = one.observation
    return run
