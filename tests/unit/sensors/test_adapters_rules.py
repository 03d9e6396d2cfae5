"""What holds for every adapter: units, times, keys, settings, and payloads that are meant to do harm."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import SettingError
from sensors.adapters import ADAPTERS, MAX_PAYLOAD
from sensors.adapters.found import Reason
from sensors.source import Source
from sensors.units import Unit, celsius, known_unit
from tests.unit.sensors.cases import ARRIVAL, CASES, MEASURED, example, read, reasons, values

TIMED = Source("lake", field="v", unit="°C", time_field="t")
LOCAL = Source("lake", field="v", unit="°C", time_field="t", timezone="Asia/Seoul")


def measured(told: object, source: Source = TIMED) -> tuple[datetime, bool] | Reason:
    adapted = read("generic", {"v": 20, "t": told}, source)
    if adapted.rejects:
        return adapted.rejects[0].reason
    return adapted.observations[0].measured_at, adapted.observations[0].timed


@pytest.mark.parametrize(
    ("told", "unit"),
    [
        ("°C", Unit.CELSIUS),
        ("℃", Unit.CELSIUS),
        (" degC ", Unit.CELSIUS),
        ("CELSIUS", Unit.CELSIUS),
        ("F", Unit.FAHRENHEIT),
        ("°F", Unit.FAHRENHEIT),
        ("K", Unit.KELVIN),
        ("°", None),
        ("deg", None),
        ("도", None),
        ("c", None),
        ("k", None),
        ("", None),
        ("%", None),
    ],
)
def test_a_unit_is_known_or_not_and_never_guessed(told: str, unit: Unit | None) -> None:
    assert known_unit(told) is unit


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (185.0, Unit.FAHRENHEIT, 85.0),
        (-196.6, Unit.FAHRENHEIT, -127.0),
        (32.0, Unit.FAHRENHEIT, 0.0),
        (294.55, Unit.KELVIN, 21.4),
        (273.15, Unit.KELVIN, 0.0),
        (21.4, Unit.CELSIUS, 21.4),
    ],
)
def test_conversion_is_exact_so_that_fault_values_stay_recognizable(value: float, unit: Unit, expected: float) -> None:
    assert celsius(value, unit) == expected


def test_a_unit_of_the_payload_that_contradicts_the_settings_is_rejected() -> None:
    both = Source("lake", field="v", unit="°C", unit_field="u")
    assert values(read("generic", {"v": 20, "u": "C"}, both)) == [20]
    assert reasons(read("generic", {"v": 20, "u": "°F"}, both)) == [Reason.UNIT_CONFLICT]
    assert values(read("generic", {"v": 20, "u": None}, both)) == [20]
    for unit in ("°", "", 7, ["C"], True):
        assert reasons(read("generic", {"v": 20, "u": unit}, both)) == [Reason.UNIT_UNKNOWN]


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        (timedelta(minutes=-5), True),
        (timedelta(minutes=-5, seconds=-1), False),
        (timedelta(0), True),
        (timedelta(hours=25), True),
        (timedelta(hours=48), True),
        (timedelta(hours=48, seconds=1), Reason.TOO_OLD),
        (timedelta(days=365), Reason.TOO_OLD),
        (timedelta(days=400), False),
        (timedelta(days=-400), False),
    ],
)
def test_an_own_time_is_kept_rejected_or_passed_over_by_its_age(ago: timedelta, expected: bool | Reason) -> None:
    moment = ARRIVAL - ago
    for told in (moment.isoformat(), moment.timestamp(), moment.timestamp() * 1000, int(moment.timestamp()) * 10**6):
        kept = (moment, True) if expected is True else (ARRIVAL, False)
        assert measured(told) == (expected if isinstance(expected, Reason) else kept)


@pytest.mark.parametrize("told", [1_795_654_800, 1_795_654_800_000, 1_795_654_800_000_000])
def test_seconds_milliseconds_and_microseconds_are_told_apart_by_the_arrival(told: int) -> None:
    assert measured(told) == (MEASURED, True)


@pytest.mark.parametrize("told", [7, 7000, 946_684_800, 946_684_800_000, 0, -1, 10**400, 1e300, float("inf"), 20261126])
def test_a_clock_that_restarted_in_1970_or_2000_is_no_time(told: float) -> None:
    assert measured(told) == (ARRIVAL, False)


@pytest.mark.parametrize(
    "told",
    [
        *("2026-11-26", "10:00:00", "26.11.2026 10:00", "yesterday", "", "2026-13-26T10:00:00Z", "2026-W48-4T10:00"),
        *("0001-01-01T00:00:00+09:00", "9999-12-31T23:59:59-09:00", "２０２６-11-26T10:00:00Z", "\ud800"),
        *(True, None, [], {}),
    ],
)
def test_an_unreadable_time_is_no_time(told: object) -> None:
    assert measured(told, LOCAL) == (ARRIVAL, False)


def test_a_time_without_an_offset_needs_the_sensors_zone() -> None:
    for hour in ("01", "10"):  # the first would be now in UTC, the second in Seoul
        assert measured(f"2026-11-26 {hour}:00:00") == (ARRIVAL, False)
    assert measured("2026-11-26 10:00:00", LOCAL) == (MEASURED, True)
    assert measured("2026-11-26T01:00:00.000000000Z", LOCAL) == (MEASURED, True)


@pytest.mark.parametrize("told", [None, "1970-01-01T00:00:00Z", "2026-11-26T23:00:00+09:00", "nonsense"])
def test_a_retained_value_without_a_usable_time_is_rejected(told: object) -> None:
    assert reasons(read("generic", {"v": 20, "t": told}, TIMED, retained=True)) == [Reason.RETAINED]


def test_keys_tell_measurements_apart_and_not_deliveries() -> None:
    def key(value: float, told: str | None, arrival: datetime, sensor: str = "lake") -> str:
        source = Source(sensor, field="v", unit="°C", time_field="t")
        return read("generic", {"v": value, "t": told}, source, arrival=arrival).observations[0].key

    later = ARRIVAL + timedelta(minutes=1)
    told = MEASURED.isoformat()
    assert key(20, told, ARRIVAL) == key(20, told, later)
    assert len({key(20, told, ARRIVAL), key(21, told, ARRIVAL), key(20, told, ARRIVAL, "hill")}) == 3
    assert key(20, None, ARRIVAL) != key(20, None, later)


def test_times_are_in_utc_whatever_the_zone_of_the_arrival() -> None:
    (one,) = read(
        "own", {"value": 1, "unit": "C"}, arrival=datetime.fromisoformat("2026-11-26T10:00:30+09:00")
    ).observations
    assert one.received_at.tzinfo is one.measured_at.tzinfo is UTC
    assert one.received_at == ARRIVAL


@pytest.mark.parametrize(
    "settings",
    [
        *({"unit": "°"}, {"unit": ""}, {"timezone": "Korea/Seoul"}, {"timezone": "../etc"}, {"timezone": ""}),
        *({"field": "$.a["}, {"field": "$..a"}, {"time_field": "$.a & $.b"}, {"unit_field": "$x"}, {"field": "$.a~"}),
    ],
)
def test_settings_that_cannot_be_used_are_an_error_at_once(settings: dict[str, str]) -> None:
    with pytest.raises(SettingError):
        Source("lake", **settings)


def test_a_key_that_is_there_twice_is_ambiguous_only_if_the_values_differ() -> None:
    assert reasons(read("zigbee2mqtt", b'{"temperature": 20, "temperature": 21}')) == [Reason.AMBIGUOUS]
    assert values(read("zigbee2mqtt", b'{"temperature": 20, "temperature": 20}')) == [20]
    assert values(read("zigbee2mqtt", b'{"temperature": 20, "humidity": 1, "humidity": 2}')) == [20]


def doubled(levels: int) -> bytes:
    """Return objects in objects, each there twice: equal ones must be compared, and again on every level."""
    tree = b"1"
    for _ in range(levels):
        tree = b'{"a":%b,"a":%b}' % (tree, tree)
    return tree


HARM = {
    "deep list": b"[" * 65_000,
    "deep object": b'{"a":' * 13_000,
    "deep and closed": b'{"temperature":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "nested as far as it goes": b'{"v":' + b'{"a":' * 400 + b"1" + b"}" * 401,
    "long integer": b'{"temperature":' + b"9" * 65_000 + b"}",
    "long integer that is read": b'{"temperature":' + b"9" * 4_000 + b"}",
    "long fraction": b'{"temperature":[1.' + b"1" * 65_000 + b"]}",
    "long number in text": b'{"temperature":"' + b"1" * 65_000 + b'x"}',
    "infinite": b'{"temperature":1e400, "value":-1e400, "v":1e400}',
    "half a surrogate pair": b'{"temperature":"\\ud800", "deduplicationId":"\\ud800", "\\ud800":1}',
    "zero bytes": b"\0" * 1000,
    "a text only": b'"' + b"a" * 65_000 + b'"',
    "many readings": b"[" + b",".join([b"{}"] * 21_000) + b"]",
    "many doubled keys": b"{" + b",".join([b'"v":1,"v":2'] * 5_000) + b"}",
    "doubled trees": doubled(11),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("harm", HARM)
def test_a_hostile_payload_gives_no_value_and_takes_no_time(name: str, harm: str) -> None:
    adapter, source = CASES[name]
    start = time.process_time()
    adapted = read(adapter, HARM[harm], source)
    assert time.process_time() - start < 1.5
    assert not adapted.observations
    assert all(len(one.detail) < 120 and one.detail.isprintable() for one in adapted.rejects)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_payload_longer_than_any_sensors_is_not_even_parsed(adapter: str) -> None:
    assert reasons(read(adapter, b" " * (MAX_PAYLOAD + 1))) == [Reason.TOO_LARGE]


def test_an_id_of_any_content_becomes_a_short_key() -> None:
    document = json.loads(example("chirpstack")) | {"deduplicationId": "\ud800" * 10_000}
    (one,) = read("chirpstack", document, CASES["chirpstack"][1]).observations
    assert len(one.key) == 32
