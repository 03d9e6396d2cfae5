"""Simulated weather of ten parks with five sensors each, every fault injected and known, and what quality control says.

`simulate()` makes 14 days from a seed, checks every observation in the order of arrival and compares the days as a
board would. `fault_table()` returns how each fault was flagged, for a benchmark to print.
"""

import random
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from tabulate import tabulate

from sensors import faults
from sensors.days import Choice, Comparison, Mode, NoReading, reading
from sensors.faults import FAULTLESS, Fault
from sensors.observation import Observation
from sensors.quality import LEFT_BEHIND_BY, SENTINEL_SPREAD, Checked, Flag, Rules, check, counts_for_others
from sensors.resolution import Resolution
from sensors.weather import Air

START = datetime(2026, 3, 9, 15, tzinfo=UTC)  # midnight in Seoul
DAYS = 14
PARKS = 10
SENSORS = 5  # of a park
INTERVAL = timedelta(minutes=5)
STEPS = DAYS * 24 * 12  # of INTERVAL
RULES = Rules(interval=INTERVAL)
SEOUL = "Asia/Seoul"
DAY_MAX_HOURS = (6, 9, 13)  # UTC: 15, 18 and 22 o'clock in Seoul

# Name → the fault. `null` gives no observation, and of `missing` nothing arrives.
VALUE_FAULTS = {name: fault for name, fault in faults.VALUE_FAULTS.items() if name != "null"}
CLOCK_FAULTS = faults.CLOCK_FAULTS
# Deliveries of true values; none of them may cost an observation.
DELIVERIES = {name: fault for name, fault in faults.DELIVERY_FAULTS.items() if name != "missing"}
ALL_FAULTS = VALUE_FAULTS | CLOCK_FAULTS | DELIVERIES
TIMES_EACH = 5  # every fault, on different sensors and days
PLACE = 0.7  # °C; sun and shade: how far a sensor's place is from the park's mean
# °C. From here on a faulty value counts as bad. Stuck, dead and drifting sensors say the truth at first, and nobody can
# see the fault before it stands out among the park's sensors: by the rule's limit, and by what their places differ.
SLOW_FAULTS = {
    "stuck": LEFT_BEHIND_BY + 2 * PLACE,
    "zero": SENTINEL_SPREAD + 2 * PLACE,
    "drift": RULES.spread + 2 * PLACE,
}
PLAIN_FAULT = 0.5


@dataclass(frozen=True, slots=True)
class Sent:
    """An observation on its way, with what only the simulation knows."""

    observation: Observation
    fault: str | None
    error: float  # °C that the fault added

    @property
    def bad(self) -> bool:
        """Whether comparing it would be wrong."""
        if self.fault in CLOCK_FAULTS:
            return True
        return self.fault in VALUE_FAULTS and not self.error <= SLOW_FAULTS.get(self.fault, PLAIN_FAULT)


@dataclass
class Result:
    """What happened in 14 days."""

    sent: dict[str, Sent] = field(default_factory=dict)  # key →
    checked: dict[str, Checked] = field(default_factory=dict)  # key →
    comparisons: list[tuple[Mode, Choice, Comparison | NoReading]] = field(default_factory=list)
    doubled: int = 0

    def comparisons_from_bad(self) -> list[Sent]:
        """Return every bad observation that took part in a comparison."""
        return [
            sent
            for _, _, found in self.comparisons
            if isinstance(found, Comparison)
            for used in found.used
            if (sent := self.sent[used.key]).bad
        ]

    def largest_error(self) -> float:
        """Return the largest error that a fault brought into a compared value, °C."""
        compared = (found for _, _, found in self.comparisons if isinstance(found, Comparison))
        return max(self.sent[used.key].error for found in compared for used in found.used)

    def good_rejected(self) -> list[Checked]:
        """Return what was measured and sent without a fault, and yet not flagged good."""
        true = (key for key, sent in self.sent.items() if sent.fault is None or sent.fault in DELIVERIES)
        return [self.checked[key] for key in true if self.checked[key].flag is not Flag.GOOD]


class Park:
    """The weather of one place, and three fronts harder than any of it: 8 °C in 10 minutes."""

    def __init__(self, randomness: random.Random) -> None:
        air = Air(randomness.randrange(2**32))
        beginnings = randomness.sample(range(STEPS), 3)
        self._air = []
        fronts = 0.0
        for step in range(STEPS):
            fronts = 0.99 * fronts - 4.0 * sum(0 <= step - begin < 2 for begin in beginnings)
            self._air.append(air.at(START + step * INTERVAL) + fronts)

    def __getitem__(self, step: int) -> float:
        return self._air[step]


def steps_of(fault: Fault) -> int:
    """Return for how many intervals a fault lasts."""
    return fault.lasts // INTERVAL


def _plan(randomness: random.Random) -> dict[str, dict[int, tuple[str, int]]]:
    """Return sensor → step → (fault, steps since it began); at most one fault at a time, and an hour between two."""
    plan: dict[str, dict[int, tuple[str, int]]] = defaultdict(dict)
    for name, fault in ALL_FAULTS.items():
        steps = steps_of(fault)
        for _ in range(TIMES_EACH):
            sensor, start = _free_place(randomness, plan, steps)
            plan[sensor] |= {start + step: (name, step) for step in range(steps)}
    return plan


def _free_place(randomness: random.Random, plan: dict[str, dict[int, tuple[str, int]]], steps: int) -> tuple[str, int]:
    while True:
        sensor = f"{randomness.randrange(PARKS)}-{randomness.randrange(SENSORS)}"
        start = randomness.randrange(200, STEPS - steps - 200)
        if plan[sensor].keys().isdisjoint(range(start - 12, start + steps + 12)):
            return sensor, start


def _messages(randomness: random.Random) -> Iterator[Sent]:
    """Yield what the sensors send, duplicates included."""
    plan = _plan(randomness)
    for park in range(PARKS):
        air = Park(randomness)
        for number in range(SENSORS):
            sensor = f"{park}-{number}"
            place = randomness.uniform(-PLACE, PLACE)
            for step in range(STEPS):
                name, since = plan[sensor].get(step, (None, 0))
                truth = round(air[step] + place + randomness.gauss(0, 0.08), 1)
                if since == 0:
                    first = truth
                told = FAULTLESS.value if name is None else ALL_FAULTS[name].value
                value = told(randomness, since * INTERVAL, first, truth)
                assert value is not None
                yield from _send(randomness, sensor, step, value, name, since, abs(value - truth))


def _send(
    randomness: random.Random, sensor: str, step: int, value: float, name: str | None, since: int, error: float
) -> Iterator[Sent]:
    fault, after = ALL_FAULTS.get(name or "", FAULTLESS), since * INTERVAL
    time = START + step * INTERVAL + timedelta(seconds=randomness.uniform(0, 20))
    received = time + timedelta(seconds=randomness.uniform(0.1, 3))
    for delay in fault.delays(after, fault.lasts, INTERVAL):
        new = Observation(sensor, value, fault.clock(time, after), received + delay, f"{sensor}/{step}")
        yield Sent(new, name, error)


class _Board:
    """One park: its sensors' series and the comparisons that its board would make."""

    def __init__(self, park: int) -> None:
        self.series: dict[str, list[Checked]] = {f"{park}-{number}": [] for number in range(SENSORS)}
        self.latest: dict[str, Checked] = {}
        self.resolutions = {sensor: Resolution() for sensor in self.series}

    def add(self, new: Observation) -> Checked:
        series = self.series[new.sensor]
        rules = RULES.showing(self.resolutions[new.sensor].shown)
        recent = series[bisect_left(series, new.measured_at - rules.window, key=_measured) :]
        others = [one for sensor, one in self.latest.items() if sensor != new.sensor]
        checked = check(new, recent, others, rules)
        self.resolutions[new.sensor].add(checked)
        insort(series, checked, key=_measured)
        if counts_for_others(checked):
            self.latest[new.sensor] = checked
        return checked


def _measured(checked: Checked) -> datetime:
    return checked.observation.measured_at


@cache
def simulate(seed: int = 14) -> Result:
    """Run 14 days: check each message when it arrives, compare every half hour."""
    randomness = random.Random(seed)
    result = Result()
    boards = [_Board(park) for park in range(PARKS)]
    due = START
    for sent in sorted(_messages(randomness), key=lambda one: one.observation.received_at):
        new = sent.observation
        while new.received_at >= due:
            for board in boards:
                result.comparisons += _compare(board, due)
            due += timedelta(minutes=30)
        if new.key in result.sent:
            result.doubled += 1
            continue
        result.sent[new.key] = sent
        result.checked[new.key] = boards[int(new.sensor.split("-")[0])].add(new)
    return result


def _compare(board: _Board, now: datetime) -> Iterator[tuple[Mode, Choice, Comparison | NoReading]]:
    for choice in Choice:
        yield Mode.SAME_TIME, choice, reading(board.series, now, SEOUL, Mode.SAME_TIME, choice)
        if now.minute == 0 and now.hour in DAY_MAX_HOURS:
            yield Mode.DAY_MAX, choice, reading(board.series, now, SEOUL, Mode.DAY_MAX, choice)


def fault_table(seed: int = 14) -> str:
    """Return a Markdown table: fault × how many observations, how they were flagged, why."""
    result = simulate(seed)
    rows = []
    for name in [*ALL_FAULTS, None]:
        about = ALL_FAULTS[name].about if name else "the others"
        keys = [key for key, sent in result.sent.items() if sent.fault == name]
        flags = Counter(result.checked[key].flag for key in keys)
        reasons = Counter(reason for key in keys for reason in result.checked[key].reasons)
        slow = SLOW_FAULTS.get(name or "", PLAIN_FAULT)
        missed = sum(result.sent[key].bad and result.checked[key].flag is Flag.GOOD for key in keys)
        why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(4))
        rows.append([name or "none", about, len(keys), *(flags[flag] for flag in Flag), slow, missed, why])
    heads = ["fault", "what breaks", "observations", *Flag, "bad from °C", "bad, flagged good", "reasons"]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=[0, 1])
