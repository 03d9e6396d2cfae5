"""The simulation without a network: what is sent, when, and what of the past must not be sent."""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from core.errors import SettingError
from sensors.adapters import adapt
from sensors.days import Comparison
from sensors.faults import Planned
from sensors.observation import Observation
from sensors.park_sensors import ParkSensors, Sensor
from sensors.quality import Flag
from sensors.simulate import PAST_RATE, Measurement, Message, Span, deliver, made_up, messages, simulated
from sensors.source import Delivery
from sensors.station import Station
from sensors.store import SensorStore

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
NOTHING = timedelta(0)


def sent(sensors: Sequence[Sensor], span: Span, *faults: str, seed: int = 1) -> list[Message]:
    planned = [Planned.parse(text) for text in faults]
    by_id = {one.id: one for one in sensors}
    return list(messages(simulated(sensors, span, seed), by_id, planned, span.start, seed))


def read(message: Message, received_at: datetime | None = None) -> list[Observation]:
    delivery = Delivery("a/topic", message.payload, received_at or max(NOW, message.due))
    return list(adapt(message.sensor.adapter, delivery, message.sensor.source).observations)


def test_past_and_future_are_sent_in_the_order_of_time() -> None:
    sensors = made_up("zigbee2mqtt", 3, 60)
    found = sent(sensors, Span(NOW, 26 * HOUR, 10 * MINUTE))
    assert [one.due for one in found] == sorted(one.due for one in found)
    assert found[0].due == NOW - 26 * HOUR
    assert found[-1].due == NOW + 10 * MINUTE
    assert Counter(one.sensor.id for one in found) == dict.fromkeys(("sim-1", "sim-2", "sim-3"), 26 * 12 + 11)


def test_the_past_may_be_finer_but_not_finer_than_the_sensor() -> None:
    for every, number in ((MINUTE, 60), (MINUTE / 2, 60), (5 * MINUTE, 12)):
        found = sent(made_up("own", 1, 60), Span(NOW, HOUR, NOTHING, past_interval=every))
        assert len(found) == number + 1


def test_a_past_interval_of_nothing_is_the_sensors_own() -> None:
    assert len(sent(made_up("own", 1, 60), Span(NOW, HOUR, NOTHING, past_interval=NOTHING))) == 61


def test_without_an_end_it_goes_on() -> None:
    sensors = {one.id: one for one in made_up("own", 1, 60)}
    endless = messages(simulated(list(sensors.values()), Span(NOW, NOTHING, None), 1), sensors, [], NOW)
    assert [one.due for one in islice(endless, 1000)][-1] == NOW + 999 * MINUTE


def test_a_history_gives_a_comparison_at_once(tmp_path: Path) -> None:
    sensors = tuple(made_up("chirpstack", 3, 60))
    park = ParkSensors(sensors, "sim", "Asia/Seoul")
    with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as store:
        station = Station({"sim": park}, store, lambda: NOW)
        for number, one in enumerate(sent(sensors, Span(NOW, 26 * HOUR, NOTHING))):
            arrival = NOW + number * timedelta(milliseconds=5)
            station.take(one.sensor.adapter, Delivery("a/topic", one.payload, arrival), one.sensor.source)
        found = station.reading("sim", NOW + MINUTE)
        flags = Counter(one.flag for name in station.sensors for one in store.between(name, NOW - 30 * HOUR, NOW))
    assert isinstance(found, Comparison)
    assert flags[Flag.GOOD] > 0.99 * flags.total()


def test_speed_changes_the_weather_and_not_the_times() -> None:
    sensors = made_up("own", 1, 60)
    slow, fast = (sent(sensors, Span(NOW, HOUR, 24 * MINUTE, speed)) for speed in (1, 60))
    assert [one.due for one in slow] == [one.due for one in fast]
    assert [one.payload for one in slow if one.due < NOW] == [one.payload for one in fast if one.due < NOW]
    ranges = []
    for found in (slow, fast):
        values = [json.loads(one.payload)["value"] for one in found if one.due >= NOW]
        ranges.append(max(values) - min(values))
    assert ranges[1] > 3 > ranges[0]


def test_a_planned_fault_is_in_the_payload_of_its_sensor_at_its_time() -> None:
    found = sent(made_up("own", 2, 60), Span(NOW, NOTHING, 20 * MINUTE), "sim-2=85@5m+3m")
    wrong = [one for one in found if json.loads(one.payload)["value"] == 85.0]
    assert [(one.sensor.id, one.due - NOW) for one in wrong] == [("sim-2", minutes * MINUTE) for minutes in (5, 6, 7)]


def test_a_stuck_sensor_keeps_the_value_that_it_had() -> None:
    found = sent(made_up("own", 1, 60), Span(NOW, NOTHING, 60 * MINUTE), "stuck@10m+30m")
    values = [json.loads(one.payload)["value"] for one in found]
    assert len(set(values[10:40])) == 1
    assert values[10] == pytest.approx(values[9], abs=1)
    assert len(set(values)) > 3


@pytest.mark.parametrize(("fault", "times"), [("doubled", 2), ("missing", 0), ("late", 1), ("reordered", 1)])
def test_deliveries_double_disappear_and_come_late(fault: str, times: int) -> None:
    found = sent(made_up("own", 1, 60), Span(NOW, NOTHING, 20 * MINUTE), f"{fault}@5m+9m")
    counts = Counter(json.loads(one.payload)["measured_at"] for one in found)
    assert [counts[(NOW + minute * MINUTE).isoformat()] for minute in range(5, 14)] == [times] * 9
    assert counts.total() == 12 + 9 * times
    dues = [one.due for one in found]
    assert dues == sorted(dues)
    if fault == "late":
        assert dues.count(NOW + 14 * MINUTE) == 10


def test_of_the_past_only_what_carries_its_true_time_is_sent() -> None:
    without_time = sent(made_up("home_assistant", 1, 60), Span(NOW, 3 * HOUR, NOTHING))
    assert [one.due for one in without_time] == [NOW]
    wrong_clock = sent(made_up("own", 1, 60), Span(NOW, 3 * HOUR, NOTHING), "1970@-2h+1h")
    assert len(wrong_clock) == 3 * 12 + 1 - 12
    for one in wrong_clock:
        assert [found.measured_at for found in read(one)] == [one.due]


def test_messages_are_sent_when_they_are_due_and_none_after_the_end() -> None:
    now = NOW
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += timedelta(seconds=seconds)

    times: list[datetime] = []
    counts = deliver(
        sent(made_up("own", 1, 60), Span(NOW, 15 * MINUTE, 10 * MINUTE)),
        lambda _sensor, _payload: times.append(now),
        NOW + 5 * MINUTE,
        lambda: now,
        sleep,
    )
    assert counts == {"sim-1": 3 + 6}
    assert sum(seconds > 1 for seconds in slept) == 5
    assert slept.count(1 / PAST_RATE) == 3, "a broker drops what its slow reader does not fetch"
    assert times[-1] - NOW == 5 * MINUTE


def test_an_unknown_adapter_is_refused_with_the_list() -> None:
    with pytest.raises(SettingError, match="no adapter 'x'") as caught:
        made_up("x", 1, 60)
    assert "zigbee2mqtt" in caught.value.todo


def test_recorded_measurements_take_the_same_way() -> None:
    sensors = {one.id: one for one in made_up("own", 1, 60)}
    (one,) = messages([Measurement(NOW - HOUR, "sim-1", 21.4)], sensors, [], NOW)
    assert [(found.value, found.measured_at) for found in read(one)] == [(21.4, NOW - HOUR)]
