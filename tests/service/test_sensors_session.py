"""The gateway's session at a real broker: topics that are gone, a second gateway, a cut network, a stepped clock."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.scripted_server import eventually
from sensors.mqtt import Broker, Subscriber
from sensors.park_sensors import ParkSensors, Sensor
from sensors.quality import Rules
from sensors.source import Source
from sensors.station import Station
from sensors.store import SensorStore
from tests.service.test_sensors import PATIENCE, payload
from tests.support.broker import Mosquitto, mosquitto, publisher


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path / "broker") as running:
        yield running


@contextmanager
def subscribed(folder: Path, broker: Mosquitto, *topics: str) -> Iterator[tuple[Subscriber, Station]]:
    """Run a subscriber whose park has a sensor on each topic: a, b, … by name."""
    sensors = tuple(
        Sensor(name, "own", topic, Source(name), Rules()) for name, topic in zip("abc", topics, strict=False)
    )
    with SensorStore.open(f"sqlite:///{folder / 'sensors.db'}") as store:
        station = Station({"lake": ParkSensors(sensors, "lake", "Asia/Seoul")}, store)
        with Subscriber(Broker.at(broker.url), station) as subscriber:
            yield subscriber, station


def arrived(station: Station, sensor: str) -> int:
    return sum(station.state(sensor).flags.values())


def test_topics_that_no_park_names_any_more_are_unsubscribed(tmp_path: Path, broker: Mosquitto) -> None:
    """Also while the gateway is away nothing of them is kept for it, wildcards included."""
    with (
        subscribed(tmp_path, broker, "park/stays", "park/goes/+") as (subscriber, station),
        publisher(broker) as sensor,
    ):
        assert eventually(lambda: subscriber.connected)
        for topic in ("park/stays", "park/goes/1"):
            sensor.send(topic, payload(20.0, datetime.now(UTC)))
        assert eventually(lambda: arrived(station, "a") == arrived(station, "b") == 1, PATIENCE)
    with subscribed(tmp_path, broker, "park/stays") as (_, station):
        assert eventually(lambda: station.store.subscriptions(_session(broker)) == {"park/stays"}, PATIENCE)
    with publisher(broker) as sensor:
        for topic in ("park/goes/1", "park/stays"):
            sensor.send(topic, payload(20.1, datetime.now(UTC)))
        sensor.flush()
    with subscribed(tmp_path, broker, "park/stays", "park/other") as (subscriber, station):
        heard: list[str] = []
        subscriber._client.on_message = lambda _client, _data, message: heard.append(message.topic)
        assert eventually(lambda: bool(heard), PATIENCE)
        time.sleep(0.5)
        assert heard == ["park/stays"]


def _session(broker: Mosquitto) -> str:
    return f"signboard at 127.0.0.1:{broker.port}"


def test_a_second_gateway_with_the_same_client_id_is_noticed_and_named_once(
    tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        caplog.at_level(logging.ERROR, "signboard.sensors"),
        subscribed(tmp_path / "one", broker, "park/1"),
        subscribed(tmp_path / "two", broker, "park/1"),
    ):
        assert eventually(lambda: len(_told(caplog)) == 2, PATIENCE), "each of them says so"
        time.sleep(5)
    assert len(_told(caplog)) == 2
    assert "'signboard'" in _told(caplog)[0]
    assert "SIGNBOARD_GATEWAY_BROKER_CLIENT_ID" in _told(caplog)[0]


def test_a_broker_that_restarts_is_no_second_gateway(
    tmp_path: Path, broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with subscribed(tmp_path, broker, "park/1") as (subscriber, _):
        for _ in range(2):
            assert eventually(lambda: subscriber.connected, PATIENCE)
            broker.stop()
            broker.start()
        assert eventually(lambda: subscriber.connected, PATIENCE)
    assert _told(caplog) == []


def _told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "CLIENT_ID" in record.getMessage()]
