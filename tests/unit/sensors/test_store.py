"""The store on a real database: what comes back, what survives, and what is said when it cannot be used.

Here on SQLite. tests/service/test_sensors_postgresql.py runs those on PostgreSQL that ask only for `store` or `url`.
"""

import math
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from database import database as module
from database.faults import DatabaseError
from sensors.observation import Observation
from sensors.quality import Checked, Flag, Reason
from sensors.store import SensorStore
from tests.conftest import ROOT

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def checked(key: str, value: float = 10.0, at: datetime = NOON, sensor: str = "lake") -> Checked:
    return Checked(Observation(sensor, value, at, at, key), Flag.GOOD)


@pytest.fixture
def store(url: str) -> Iterator[SensorStore]:
    with SensorStore.open(url) as opened:
        yield opened


def everything(store: SensorStore, sensor: str = "lake") -> list[Checked]:
    return store.between(sensor, NOON - timedelta(days=400), NOON + timedelta(days=400))


# What comes back


def test_an_observation_comes_back_as_it_was(store: SensorStore) -> None:
    seoul = timezone(timedelta(hours=9))
    told = Checked(
        Observation("호수/1", -3.7, NOON + timedelta(microseconds=1), NOON.astimezone(seoul), "열쇠", timed=False),
        Flag.BAD,
        (Reason.STEP, Reason.STUCK),
        -0.25,
    )
    store.add(told)
    assert everything(store, "호수/1") == [told]
    assert everything(store, "호수/1")[0].observation.received_at.tzinfo is UTC


@pytest.mark.parametrize("value", [math.inf, -math.inf, -327.68, 0.1 + 0.2])
def test_every_value_comes_back_exactly(value: float, store: SensorStore) -> None:
    store.add(checked("a", value))
    assert everything(store)[0].observation.value == value


def test_not_a_number_comes_back_as_such(store: SensorStore) -> None:
    store.add(checked("a", math.nan))
    assert math.isnan(everything(store)[0].observation.value)


def test_a_repeated_key_is_kept_once_with_its_first_value(store: SensorStore) -> None:
    assert store.add(checked("a", 1.0)) is True
    assert store.add(checked("a", 2.0)) is False
    assert store.add(checked("a", 3.0, sensor="hill")) is True
    assert store.add_many([checked("a"), checked("b", 4.0), checked("b", 5.0), checked("c")]) == [
        False,
        True,
        False,
        True,
    ]
    assert [one.observation.value for one in everything(store)] == [1.0, 4.0, 10.0]
    assert store.add_many([]) == []


def test_more_observations_than_one_statement_holds_are_one_transaction(store: SensorStore) -> None:
    many = [checked(str(index), at=NOON + index * MINUTE) for index in range(5000)]
    assert all(store.add_many(many))
    assert everything(store) == many
    broken = [*(checked(f"new {index}") for index in range(3000)), checked("x", at=None)]  # type: ignore[arg-type]
    with pytest.raises(DatabaseError, match=r"(?i)not.null"):
        store.add_many(broken)
    assert len(everything(store)) == 5000


def test_between_is_ordered_by_measurement_and_leaves_its_end_out(store: SensorStore) -> None:
    store.add_many([checked(str(at), at=NOON + at * MINUTE) for at in (3, 1, 0, 2)])
    found = store.between("lake", NOON + MINUTE, NOON + 3 * MINUTE)
    assert [one.observation.key for one in found] == ["1", "2"]
    assert store.between("hill", NOON, NOON + MINUTE) == []


def test_latest_is_the_last_measured_not_the_last_received_and_never_of_the_future(store: SensorStore) -> None:
    assert store.latest("lake") is None
    late = Checked(Observation("lake", 1.0, NOON - MINUTE, NOON + MINUTE, "late"), Flag.GOOD)
    future = Checked(Observation("lake", 2.0, NOON + 600 * MINUTE, NOON, "future"), Flag.BAD, (Reason.FUTURE,))
    bad = Checked(Observation("lake", 85.0, NOON, NOON, "bad"), Flag.BAD, (Reason.FAULT_VALUE,))
    store.add_many([bad, late, future])
    assert store.latest("lake") == bad
    assert store.latest("lake", good=True) == late


def test_prune_deletes_what_is_older_of_every_sensor(store: SensorStore) -> None:
    store.add_many(
        [checked(str(at), at=NOON + at * MINUTE, sensor=name) for name in ("lake", "hill") for at in range(5)]
    )
    assert store.sensors() == ["hill", "lake"]
    assert store.prune(NOON + 3 * MINUTE) == 6
    assert [one.observation.key for one in everything(store)] == ["3", "4"]
    assert store.prune(NOON) == 0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.floats(allow_nan=False)), max_size=40))
def test_any_deliveries_leave_each_key_once(sent: list[tuple[str, int, float]]) -> None:
    with SensorStore.open("sqlite://") as store:
        kept: dict[tuple[str, int], float] = {}
        for sensor, key, value in sent:
            assert store.add(checked(str(key), value, sensor=sensor)) is ((sensor, key) not in kept)
            kept.setdefault((sensor, key), value)
        stored = {(s, int(one.observation.key)): one.observation.value for s in "ab" for one in everything(store, s)}
        assert stored == kept


# What survives


def test_commits_wait_for_the_disk_and_readers_do_not_wait(store: SensorStore) -> None:
    with store.database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


WRITER = """
import sys
from datetime import UTC, datetime
from sensors.observation import Observation
from sensors.quality import Checked, Flag
from sensors.store import SensorStore
at = datetime(2026, 11, 26, 12, tzinfo=UTC)
with SensorStore.open(sys.argv[1]) as store:
    for number in range(100_000):
        key = f"{sys.argv[2]}-{number}"
        store.add_many([Checked(Observation("lake", 1.0, at, at, f"{key}-{half}"), Flag.GOOD) for half in "ab"])
        print(key, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_and_what_was_not_is_whole_or_absent(url: str) -> None:
    acknowledged: list[str] = []
    for run in range(3):
        command = [sys.executable, "-c", WRITER, url, str(run)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            acknowledged += [writer.stdout.readline().strip() for _ in range(20)]
            writer.kill()
            acknowledged += [
                line.strip() for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n")
            ]
    with SensorStore.open(url) as store:
        kept = {one.observation.key for one in everything(store)}
    assert len(acknowledged) >= 60
    assert {f"{key}-{half}" for key in acknowledged for half in "ab"} <= kept
    assert len(kept) % 2 == 0


def test_threads_share_a_store(store: SensorStore) -> None:
    new: list[bool] = []

    def write() -> None:
        for number in range(20):
            new.append(store.add(checked(str(number))))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert new.count(True) == 20
    assert len(new) == 80


# What is said


def test_a_corrupt_file(store: SensorStore, path: Path) -> None:
    store.add_many([checked(str(index)) for index in range(2000)])
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"(?s)cannot be (opened|read).*→ .*last backup"):
        everything(SensorStore.open(f"sqlite:///{path}"))


def test_a_read_only_database(store: SensorStore, path: Path) -> None:
    store.add(checked("a"))
    with SensorStore.open(f"sqlite:///file:{path}?mode=ro&uri=true") as reader:
        assert len(everything(reader)) == 1
        with pytest.raises(DatabaseError, match=r"(?s)cannot be written.*→ Let this user write"):
            reader.add(checked("b"))


@pytest.mark.usefixtures("store")
def test_a_locked_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with SensorStore.open(f"sqlite:///{path}") as late:
        with pytest.raises(DatabaseError, match=r"(?s)locked.*→ Close the other program"):
            late.add(checked("a"))
        assert everything(late) == []  # readers do not wait
        other.execute("ROLLBACK")
        other.close()
        assert late.add(checked("a"))


def test_a_full_disk_loses_nothing_that_was_acknowledged(store: SensorStore) -> None:
    def fill(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
        connection.execute("PRAGMA max_page_count = 40")  # SQLite's own error for a full disk

    event.listen(store.database.engine, "checkout", fill)
    acknowledged: list[str] = []

    def write_until_it_fails() -> None:
        for number in range(100):
            batch = [checked(f"{number}-{index}") for index in range(50)]
            store.add_many(batch)
            acknowledged.extend(one.observation.key for one in batch)

    with pytest.raises(DatabaseError, match=r"(?s)full.*→ Free disk space"):
        write_until_it_fails()
    assert acknowledged
    assert sorted(one.observation.key for one in everything(store)) == sorted(acknowledged)
    assert store.prune(NOON + MINUTE) == len(acknowledged)
    assert store.add(checked("again"))
