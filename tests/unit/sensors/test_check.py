"""What `python -m sensors check` says about each sensor."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import ParkError
from sensors.check import Finding, findings, read_parks
from sensors.observation import Observation
from sensors.quality import Checked, Flag, Reason
from sensors.source import Delivery
from sensors.store import SensorStore

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
PARK = """
name: 호수공원
elements: [벤치]
sensors:
  devices:
    - {id: lake-1, adapter: zigbee2mqtt, topic: zigbee2mqtt/lake}
    - {id: lake-2, adapter: own, interval: 60}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lake.yaml").write_text(PARK, encoding="utf-8")
    (tmp_path / "default.yaml").write_text("name: 공원\nelements: [벤치]\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SensorStore]:
    with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as opened:
        yield opened


def look(folder: Path, store: SensorStore | None, *payloads: bytes, retained: bool = False) -> dict[str, Finding]:
    brought = [Delivery("zigbee2mqtt/lake", one, NOW, retained) for one in payloads]
    brought.append(Delivery("zigbee2mqtt/other", b'{"temperature": 85}', NOW))
    return {one.sensor.id: one for one in findings(read_parks(folder, "Asia/Seoul"), brought, store, NOW)}


def keep(store: SensorStore, sensor: str, minutes: float, *reasons: Reason) -> None:
    at = NOW - timedelta(minutes=minutes)
    flag = Flag.BAD if reasons else Flag.GOOD
    store.add(Checked(Observation(sensor, 21.4, at, at, f"{sensor} {minutes}"), flag, reasons))


def test_a_sensor_that_says_something_usable_is_fine(folder: Path) -> None:
    found = look(folder, None, b'{"temperature": 21.3}', b'{"temperature": 21.4}')["lake-1"]
    assert (found.heard, found.problem) == (2, None)
    assert found.now is not None
    assert found.now.observation.value == 21.4


def test_what_the_gateway_has_stored_already_is_not_doubled(folder: Path, store: SensorStore) -> None:
    payload = b'{"temperature": 21.4, "last_seen": "2026-11-26T11:59:00+09:00"}'
    keep(store, "lake-1", 1)
    now = look(folder, store, payload)["lake-1"].now
    assert now is not None
    assert (now.flag, now.reasons) == (Flag.GOOD, ())


def test_a_value_without_a_time_is_judged_by_itself(folder: Path) -> None:
    now = look(folder, None, b'{"temperature": 21.4}')["lake-1"].now
    assert now is not None
    assert now.flag is Flag.GOOD


def test_without_a_word_the_store_decides(folder: Path, store: SensorStore) -> None:
    assert {one.problem for one in look(folder, store).values()} == {"silent"}
    keep(store, "lake-1", 14)  # three of its intervals are 15 minutes
    keep(store, "lake-2", 4)  # and here 3
    found = look(folder, store)
    assert (found["lake-1"].problem, found["lake-2"].problem) == (None, "silent")
    keep(store, "lake-2", 1, Reason.STUCK)
    assert look(folder, store)["lake-2"].problem == "bad: stuck"


def test_a_bad_value_is_named(folder: Path) -> None:
    assert look(folder, None, b'{"temperature": 85}')["lake-1"].problem == "bad: fault_value"


@pytest.mark.parametrize(
    ("payload", "told"),
    [(b"{", "not_json"), (b'{"humidity": 40}', "missing"), (b'{"temperature": null}', "null")],
)
def test_what_cannot_be_read_is_named(payload: bytes, told: str, folder: Path, store: SensorStore) -> None:
    keep(store, "lake-1", 1)  # an older good one does not help: the operator looks at the topic as it is
    assert f"unreadable: {told}" in str(look(folder, store, payload)["lake-1"].problem)


def test_what_the_broker_kept_without_a_time_is_not_now(folder: Path) -> None:
    assert "retained" in str(look(folder, None, b'{"temperature": 21.4}', retained=True)["lake-1"].problem)


def test_parks_without_sensors_are_passed_over_and_a_park_may_be_named(folder: Path) -> None:
    assert list(read_parks(folder, "Asia/Seoul")) == ["lake"]
    assert list(read_parks(folder, "Asia/Seoul", "lake")) == ["lake"]
    for wrong in ("default", "pond"):
        with pytest.raises(ParkError, match=f"{wrong}.yaml"):
            read_parks(folder, "Asia/Seoul", wrong)


def test_every_file_is_validated_also_those_that_nobody_asked_for(folder: Path) -> None:
    (folder / "hill.yaml").write_text(PARK.replace("zigbee2mqtt,", "zigbee,"), encoding="utf-8")
    with pytest.raises(ParkError, match=r"hill\.yaml"):
        read_parks(folder, "Asia/Seoul", "lake")
    (folder / "hill.yaml").write_text(PARK, encoding="utf-8")
    with pytest.raises(ParkError, match="lake-1 stands in two parks"):
        read_parks(folder, "Asia/Seoul")
