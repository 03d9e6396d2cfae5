"""The station: from payloads to what is on the disk, what was flagged, compared and counted."""

import json
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.reading import Reading
from database.faults import DatabaseError
from sensors.days import Comparison, NoReading
from sensors.park_sensors import ParkSensors, Sensor
from sensors.quality import Flag, Reason, Rules
from sensors.source import Delivery, Source
from sensors.station import Station, Taken
from sensors.store import SensorStore

NOW = datetime(2026, 11, 26, 5, 0, tzinfo=UTC)
MINUTES = timedelta(minutes=1)


def sensor(name: str, replaces: str | None = None) -> Sensor:
    return Sensor(name, "own", None, Source(name), Rules(), replaces)


LAKE = ParkSensors(tuple(sensor(name) for name in ("lake-1", "lake-2", "lake-3")), "lake", "Asia/Seoul")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SensorStore]:
    with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as opened:
        yield opened


@pytest.fixture
def station(store: SensorStore) -> Station:
    return Station({"lake": LAKE}, store, lambda: NOW)


def delivery(value: object, measured: datetime, received: datetime | None = None) -> Delivery:
    body = {"value": value, "unit": "°C", "measured_at": measured.isoformat()}
    return Delivery("x", json.dumps(body).encode(), received or measured + timedelta(seconds=1))


def take(
    station: Station, value: object, measured: datetime, received: datetime | None = None, name: str = "lake-1"
) -> Taken:
    return station.take("own", delivery(value, measured, received), Source(name))


def days(station: Station, yesterday: float, today: float, name: str = "lake-1") -> None:
    """Send an hour around yesterday's and today's now, every five minutes."""
    for day, value in ((1, yesterday), (0, today)):
        for number in range(12, -1, -1):
            measured = NOW - day * 1440 * MINUTES - number * 5 * MINUTES
            take(station, round(value + 0.1 * (number % 2), 1), measured, name=name)


def test_what_was_taken_is_on_the_disk_and_makes_a_reading(station: Station, store: SensorStore) -> None:
    days(station, 10, 16)
    found = station.reading("lake", NOW)
    assert isinstance(found, Comparison)
    assert found.reading == Reading(10, 16)
    assert found.sensors == ("lake-1",)
    assert len(store.between("lake-1", NOW - timedelta(days=2), NOW + MINUTES)) == 26


def test_without_yesterday_there_is_no_reading(station: Station) -> None:
    assert station.reading("lake", NOW) is NoReading.NO_CURRENT
    take(station, 16.0, NOW)
    assert station.reading("lake", NOW) is NoReading.NO_YESTERDAY


def test_85_degrees_are_kept_flagged_and_never_compared(station: Station) -> None:
    days(station, 10, 16)
    (checked,) = take(station, 85.0, NOW + MINUTES).new
    assert (checked.flag, checked.reasons) == (Flag.BAD, (Reason.FAULT_VALUE,))
    found = station.reading("lake", NOW + MINUTES)
    assert isinstance(found, Comparison)
    assert all(one.value < 20 for one in found.used)
    state = station.state("lake-1")
    assert state.latest == checked
    assert state.flags == {Flag.GOOD: 26, Flag.BAD: 1}


def test_a_repeated_delivery_is_kept_once_now_and_after_a_restart(station: Station, store: SensorStore) -> None:
    assert len(take(station, 16.0, NOW).new) == 1
    again = take(station, 16.0, NOW)
    assert (again.new, again.repeated) == ((), 1)
    restarted = Station({"lake": LAKE}, store, lambda: NOW)
    assert take(restarted, 16.0, NOW).repeated == 1
    late = NOW - timedelta(hours=40)
    assert len(take(restarted, 12.0, late, NOW).new) == 1
    assert take(Station({"lake": LAKE}, store, lambda: NOW), 12.0, late, NOW).repeated == 1
    assert len(store.between("lake-1", NOW - timedelta(days=2), NOW + MINUTES)) == 2


def test_a_restart_judges_with_what_the_store_knows(station: Station, store: SensorStore) -> None:
    """The step from the last value before the restart is one after it, too."""
    take(station, 16.0, NOW)
    restarted = Station({"lake": LAKE}, store, lambda: NOW)
    (checked,) = take(restarted, 30.0, NOW + 5 * MINUTES).new
    assert Reason.STEP in checked.reasons
    state = restarted.state("lake-1")
    assert state.latest == checked


def test_the_parks_other_sensors_are_asked(station: Station) -> None:
    for name, value in (("lake-2", 16.0), ("lake-3", 16.2)):
        take(station, value, NOW, name=name)
    (checked,) = take(station, 22.0, NOW).new
    assert checked.reasons == (Reason.DEVIATION,)
    (near,) = take(station, 16.5, NOW + 5 * MINUTES).new
    assert near.deviation == pytest.approx(0.4)


def test_a_late_observation_is_judged_by_its_neighbours_in_time(station: Station) -> None:
    """Also where those have long left the memory."""
    begin = NOW - timedelta(hours=40)
    for number in range(400):
        if number != 50:
            take(station, 10 + 0.1 * (number % 3), begin + number * 5 * MINUTES)
    (wrong,) = take(station, 30.0, begin + 250 * MINUTES, NOW).new
    assert wrong.reasons == (Reason.STEP,)
    (right,) = take(station, 10.1, begin + 251 * MINUTES, NOW).new
    assert right.flag is Flag.DOUBTFUL, "its place is taken by nothing but the wrong one"


@pytest.mark.parametrize("restarts", [False, True])
def test_a_sensor_that_rounds_to_whole_degrees_is_recognised_and_may_stand_still(
    restarts: bool, station: Station, store: SensorStore
) -> None:
    begin = NOW - timedelta(hours=40)
    for number in range(30 * 6):
        take(station, float(number // 6 % 7), begin + number * 10 * MINUTES)
    if restarts:
        station = Station({"lake": LAKE}, store, lambda: NOW)
    stands = [take(station, 20.0, NOW - timedelta(hours=10) + number * 10 * MINUTES) for number in range(30)]
    assert stands[-1].new[0].flag is Flag.GOOD, "five hours; a sensor of 0.1 °C is suspicious after three"


def test_rejects_are_counted_by_reason(station: Station) -> None:
    for body in (b"{", b'{"value": null, "unit": "\xc2\xb0C"}', b'{"value": "x", "unit": "C"}', b'{"value": 1}'):
        station.take("own", Delivery("x", body, NOW), Source("lake-1"))
    assert station.state("lake-1").rejects == {"not_json": 1, "null": 1, "not_a_number": 1, "unit_missing": 1}


def test_the_state_knows_age_lag_and_silence(store: SensorStore) -> None:
    now = [NOW]
    station = Station({"lake": LAKE}, store, lambda: now[0])
    empty = station.state("lake-1")
    assert (empty.latest, empty.age, empty.lag, empty.missing, empty.park) == (None, None, None, True, "lake")
    take(station, 16.0, NOW - 3 * MINUTES, NOW - MINUTES)
    state = station.state("lake-1")
    assert (state.age, state.lag, state.missing) == (180, 120, False)
    now[0] += 15 * MINUTES
    assert station.state("lake-1").missing


def test_a_buffer_that_is_emptied_is_not_silence(station: Station) -> None:
    (newest,) = take(station, 16.0, NOW - timedelta(hours=1)).new
    take(station, 15.0, NOW - timedelta(hours=3), NOW - MINUTES)
    state = station.state("lake-1")
    assert state.latest == newest
    assert not state.missing


@pytest.mark.parametrize("fault", [DatabaseError("full"), RuntimeError("a fault of ours")])
def test_what_could_not_be_kept_is_not_remembered(
    fault: Exception, station: Station, store: SensorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> list[bool]:
        raise fault

    with monkeypatch.context() as broken:
        broken.setattr(store, "add_many", full)
        with pytest.raises(type(fault)):
            take(station, 16.0, NOW)
    assert station.state("lake-1").latest is None
    assert len(take(station, 16.0, NOW).new) == 1


def test_duplicates_and_another_order_change_neither_the_store_nor_the_reading(tmp_path: Path) -> None:
    def run(name: str, deliveries: list[Delivery]) -> tuple[set[tuple[datetime, float]], object]:
        with SensorStore.open(f"sqlite:///{tmp_path / name}.db") as store:
            station = Station({"lake": LAKE}, store, lambda: NOW)
            for one in deliveries:
                station.take("own", one, Source("lake-1"))
            kept = store.between("lake-1", NOW - timedelta(days=2), NOW + MINUTES)
            assert all(one.flag is Flag.GOOD for one in kept)
            found = station.reading("lake", NOW)
            assert isinstance(found, Comparison)
            return {(one.observation.measured_at, one.observation.value) for one in kept}, found.reading

    values = [round(15 + 5 * ((number % 288) / 288) + 0.1 * (number % 2), 1) for number in range(320)]
    plain = [delivery(value, NOW - (319 - number) * 5 * MINUTES) for number, value in enumerate(values)]
    shuffled, chance = list(plain), random.Random(1)
    for number in range(0, len(shuffled) - 1, 10):
        shuffled[number], shuffled[number + 1] = shuffled[number + 1], shuffled[number]
    doubled = [one for payload in shuffled for one in [payload] * (2 if chance.random() < 0.1 else 1)]
    assert len(doubled) > 330
    assert run("plain", plain) == run("doubled", doubled)


def test_threads_share_a_station(station: Station, store: SensorStore) -> None:
    barrier = threading.Barrier(4)

    def send(worker: int) -> int:
        barrier.wait()
        return sum(
            len(take(station, 16.0 + 0.1 * (number % 2), NOW - number * MINUTES, NOW, f"lake-{worker % 2 + 1}").new)
            for number in range(50)
        )

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(send, range(4))) == 100, "two workers send the same"
    assert len(store.between("lake-1", NOW - timedelta(days=1), NOW + MINUTES)) == 50


def test_memory_stays_small(station: Station) -> None:
    for number in range(3000):
        take(station, 10 + 0.1 * (number % 3), NOW + number * 5 * MINUTES)
    assert len(station._series["lake-1"]._checked) < 120
    assert len(station._series["lake-1"]._keys) < 120
