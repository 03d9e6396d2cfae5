"""What quality control says about every fault, how many observations per second the station takes, and their size.

Usage: python -m benchmarks.sensor_faults [--seeds 14] [--sensors 50] [--hours 48]
       python -m benchmarks.sensor_faults --series FILE.csv --interval 3600 [--resolution 0.6] [--stuck 60]
In: simulated weather. Out: a table fault × flags, the shares that tests hold, observations per second from payload to
disk, bytes of one observation in the store, the process's memory meanwhile. With `--series`: how a recorded series of
one sensor (the file of `python -m sensors replay`) is flagged, and with `--stuck` for how long a fault is believed.
"""

import argparse
import random
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import psutil

from database.backup import dump
from sensors.observation import Observation
from sensors.park_sensors import ParkSensors, Sensor
from sensors.quality import Checked, Flag, Rules, check
from sensors.replay import recorded
from sensors.resolution import Resolution
from sensors.simulate import Measurement, Message, Span, made_up, messages, simulated
from sensors.source import Delivery
from sensors.station import Station
from sensors.store import SensorStore
from tests.support.weather import DELIVERIES, fault_table, simulate

BATCH = 500  # as the gateway's connection to the broker takes them
PER_PARK = 5
YEAR = 365 * 24 * 60  # minutes
NOTICED = 2.0  # °C; from here on a comparison is plainly wrong


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description="Faults of sensors, rate and size.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[14], help="of the 14 days (%(default)s)")
    parser.add_argument("--sensors", type=int, default=50, help="for rate and size (%(default)s)")
    parser.add_argument("--hours", type=int, default=48, help="for rate and size, a value a minute (%(default)s)")
    parser.add_argument("--series", type=Path, help="a recorded series instead")
    parser.add_argument("--timezone", default="UTC", help="of its times without an offset (%(default)s)")
    parser.add_argument("--interval", type=float, default=3600, help="its seconds between two values (%(default)s)")
    parser.add_argument("--resolution", type=float, help="its smallest change, °C; else what its changes show")
    parser.add_argument("--stuck", type=int, default=0, help="let it stand still for a day at so many places")
    options = parser.parse_args()
    if options.series:
        rules = Rules(timedelta(seconds=options.interval))
        if options.resolution:
            rules = replace(rules, resolution=options.resolution, told=True)
        series = recorded(options.series, options.timezone, ["recorded"])
        print(_recorded(series, rules))
        if options.stuck:
            print(_stuck(series, rules, options.stuck))
        return
    for seed in options.seeds:
        print(f"\n14 days, 50 sensors, seed {seed}: {_shares(seed)}\n\n{fault_table(seed)}")
    with tempfile.TemporaryDirectory() as folder:
        print("\n" + _rate_and_size(Path(folder) / "signboard.db", options.sensors, options.hours))


def _shares(seed: int) -> str:
    result = simulate(seed)
    true = sum(not sent.fault or sent.fault in DELIVERIES for sent in result.sent.values())
    rejected = len(result.good_rejected()) / true
    return f"comparisons from a bad value {len(result.comparisons_from_bad())}, good values rejected {rejected:.2%}"


def _recorded(measurements: list[Measurement], rules: Rules) -> str:
    """Return how a series of one sensor is flagged, each value as if it arrived at once."""
    series = _checked(measurements, rules)
    flags = Counter(one.flag for one in series)
    reasons = Counter(reason for one in series for reason in one.reasons)
    told = ", ".join(f"{name} {count}" for name, count in [*flags.most_common(), *reasons.most_common()])
    return f"{len(series)} values, {1 - flags[Flag.GOOD] / len(series):.2%} not good: {told}"


def _checked(measurements: list[Measurement], rules: Rules) -> list[Checked]:
    """Check a series as a station does, which learns the sensor's resolution."""
    series: list[Checked] = []
    resolution = Resolution()
    for number, one in enumerate(measurements):
        known = rules.showing(resolution.shown)
        recent = series[bisect_left(series, one.at - known.window, key=lambda old: old.observation.measured_at) :]
        series.append(check(Observation(one.sensor, one.value, one.at, one.at, str(number)), recent, [], known))
        resolution.add(series[-1])
    return series


def _stuck(measurements: list[Measurement], rules: Rules, places: int) -> str:
    """Return for how long a sensor without neighbours that stands still for a day is taken for good, and wrong.

    Each place is a series of its own: 40 days of the truth, so that the resolution is known, then the fault.
    """
    day, before = timedelta(days=1) // rules.interval, timedelta(days=40) // rules.interval
    randomness = random.Random(1)
    hours, good, wrong = rules.interval / timedelta(hours=1), 0, 0
    for _ in range(places):
        begin = randomness.randrange(before, len(measurements) - day)
        truth = measurements[begin - before : begin + day]
        stands = [*truth[:-day], *(replace(one, value=truth[-day].value) for one in truth[-day:])]
        checked = _checked(stands, rules)[-day:]
        off = [abs(one.value - truth[-day].value) > NOTICED for one in truth[-day:]]
        wrong += sum(off)
        good += sum(far and one.flag is Flag.GOOD for far, one in zip(off, checked, strict=True))
    return (
        f"stuck for a day at {places} places: wrong by more than {NOTICED:g} °C for {wrong * hours / places:.1f} h, "
        f"of which {good * hours / places:.1f} h pass for good"
    )


def _rate_and_size(path: Path, number: int, hours: int) -> str:
    start = datetime.now(UTC) - timedelta(hours=1)  # nothing of it is late
    sensors = made_up("zigbee2mqtt", number, 60)
    groups = [tuple(sensors[first : first + PER_PARK]) for first in range(0, number, PER_PARK)]
    parks = {f"park-{one}": ParkSensors(group, f"park-{one}", "Asia/Seoul") for one, group in enumerate(groups)}
    every = _written(groups, start, hours)
    with SensorStore.open(f"sqlite:///{path}") as store:
        station = Station(parks, store)
        begin, memory, process = time.perf_counter(), [], psutil.Process()
        for batch in iter(lambda: list(islice(every, BATCH)), []):
            station.take_many([(one.sensor.adapter, delivery, one.sensor.source) for one, delivery in batch])
            memory.append(process.memory_info().rss / 1e6)
        seconds = time.perf_counter() - begin
    dump(f"sqlite:///{path}", path.with_suffix(".copy"))
    taken = number * (hours * 60 + 1)
    size = path.with_suffix(".copy").stat().st_size / taken
    year = 100 * YEAR * size / 1e9
    quarters = ", ".join(f"{memory[len(memory) * part // 4 - 1]:.1f}" for part in (1, 2, 3, 4))
    return (
        f"{taken} observations of {number} sensors, payload to disk in batches of {BATCH}: {taken / seconds:.0f}/s\n"
        f"{size:.0f} bytes each in the store; 100 sensors, one value a minute, one year: {year:.1f} GB\n"
        f"memory after a quarter, half, three quarters, all of them: {quarters} MB"
    )


def _written(groups: list[tuple[Sensor, ...]], start: datetime, hours: int) -> Iterator[tuple[Message, Delivery]]:
    """Return every message with its arrival a second after the measurement, written before the clock starts."""
    span = Span(start, timedelta(0), timedelta(hours=hours))
    due: list[Message] = []
    for seed, group in enumerate(groups):
        due += messages(simulated(group, span, seed), {one.id: one for one in group}, [], start)
    due.sort(key=lambda one: one.due)
    second = timedelta(seconds=1)
    return iter([(one, Delivery(one.sensor.topic or "", one.payload, one.due + second)) for one in due])


if __name__ == "__main__":
    main()
