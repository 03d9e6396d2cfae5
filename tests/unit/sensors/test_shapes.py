"""Simulated payloads: what is written is what the adapter of that kind reads."""

import json
import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingError
from sensors.adapters import ADAPTERS, adapt
from sensors.adapters.found import Adapted, Reason
from sensors.shapes import SHAPES, has_time, payload
from sensors.simulate import made_up
from sensors.source import Delivery, Source
from tests.unit.sensors.cases import ARRIVAL, MEASURED

EACH = {name: made_up(name, 1, 60)[0].source for name in SHAPES}
TIMED = [name for name, source in EACH.items() if has_time(name, source)]


def read_back(name: str, value: float | None, source: Source | None = None, count: int = 0) -> Adapted:
    written = payload(name, source or EACH[name], value, MEASURED, count)
    return adapt(name, Delivery("a/topic", written, ARRIVAL), source or EACH[name])


def test_every_adapter_has_a_shape() -> None:
    assert SHAPES.keys() == ADAPTERS.keys()
    assert set(SHAPES) - set(TIMED) == {"home_assistant"}


@pytest.mark.parametrize("name", SHAPES)
@given(hundredths=st.integers(-4000, 6000))
def test_the_adapter_reads_the_value_that_was_written(name: str, hundredths: int) -> None:
    value = hundredths / 100
    (one,) = read_back(name, value).observations
    assert one.value == value


@pytest.mark.parametrize("name", TIMED)
def test_the_adapter_reads_the_time_that_was_written(name: str) -> None:
    (one,) = read_back(name, 21.5).observations
    assert (one.measured_at, one.timed) == (MEASURED, True)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("value", [None, math.nan])
def test_no_value_stays_none(name: str, value: float | None) -> None:
    read = read_back(name, value)
    assert read.observations == ()
    assert {one.reason for one in read.rejects} <= {
        Reason.NULL, Reason.MISSING, Reason.UNAVAILABLE, Reason.NOT_FINITE, Reason.NOT_JSON,
    }  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_two_deliveries_have_one_key_and_two_measurements_two(name: str) -> None:
    first, again = (read_back(name, 21.5, count=7).observations[0].key for _ in range(2))
    later = payload(name, EACH[name], 21.5, MEASURED + timedelta(seconds=10), 8)
    arrived = Delivery("a/topic", later, ARRIVAL + timedelta(seconds=10))
    assert first == again
    assert adapt(name, arrived, EACH[name]).observations[0].key != first


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("tasmota", "°F"),
        *((name, unit) for name in ("own", "thingsboard", "chirpstack", "home_assistant") for unit in ("°F", "K")),
    ],
)
def test_values_are_written_in_the_unit_of_the_settings(name: str, unit: str) -> None:
    source = Source("lake", field="x" if name != "home_assistant" else None, unit=unit, timezone="Asia/Seoul")
    (one,) = read_back(name, 21.5, source).observations
    assert one.value == pytest.approx(21.5, abs=0.01)


@pytest.mark.parametrize("name", ["thingsboard", "chirpstack", "things_stack", "senml", "onem2m"])
def test_a_device_is_named_so_that_its_sensor_recognises_it(name: str) -> None:
    source = Source("lake", field=SHAPES[name].field, unit="°C", device="0102030405060708")
    (one,) = read_back(name, 21.5, source).observations
    assert one.value == 21.5


def test_a_path_cannot_be_written() -> None:
    with pytest.raises(SettingError, match="is a path"):
        payload("generic", Source("lake", field="$.a[0].b", unit="°C"), 1.0, MEASURED)


def test_payloads_are_json_as_devices_write_it() -> None:
    told = json.loads(payload("tasmota", Source("lake", field="AM2301", timezone="Asia/Seoul"), 21.3, MEASURED))
    assert told == {"Time": "2026-11-26T10:00:00", "AM2301": {"Temperature": 21.3}, "TempUnit": "C"}
