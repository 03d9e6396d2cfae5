"""The gateway's session at a real broker: topics that are gone, a second gateway, a cut network, a stepped clock."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from benchmarks.scripted_server import eventually, right_answer, scripted
from sensors import mqtt
from sensors.mqtt import Broker, Subscriber
from sensors.park_sensors import ParkSensors, Sensor
from sensors.quality import Flag, Rules
from sensors.source import Source
from sensors.station import Station
from sensors.store import SensorStore
from tests.service.test_gateway_process import gateway_process
from tests.service.test_sensors import (
    PATIENCE,
    assert_kept_once,
    connected,
    course,
    environment,
    kept,
    payload,
    settings,
    shown,
)
from tests.support.broker import Mosquitto, mosquitto, publisher
from tests.support.gateway_server import running_gateway
from tests.support.relay import relay

MINUTE = timedelta(minutes=1)


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
    with SensorStore.open(f"sqlite:///{folder / 'signboard.db'}") as store:
        station = Station({"lake": ParkSensors(sensors, "lake", "Asia/Seoul")}, store)
        with Subscriber(Broker.at(broker.url), station) as subscriber:
            yield subscriber, station


def arrived(station: Station, sensor: str) -> int:
    return sum(station.state(sensor).flags.values())


def test_topics_that_no_park_names_any_more_are_unsubscribed(tmp_path: Path, broker: Mosquitto) -> None:
    """Also while the gateway is away nothing of them is kept for it, wildcards included."""
    with (
        subscribed(tmp_path, broker, "park/stays", "park/goes/+") as (_, station),
        publisher(broker) as sensor,
    ):

        def heard_both() -> bool:  # sent again and again: what comes before the subscription is nobody's
            for topic in ("park/stays", "park/goes/1"):
                sensor.send(topic, payload(20.0, datetime.now(UTC)))
            return bool(arrived(station, "a") and arrived(station, "b"))

        assert eventually(heard_both, PATIENCE)
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


def test_a_network_that_is_cut_for_an_hour_costs_nothing_but_the_hour(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour's values, which all arrive at once afterwards. The connection stays open and silent, as with a cable."""
    monkeypatch.setattr(mqtt, "KEEP_ALIVE", 2)
    hour = [payload(16 + 0.1 * (number % 2), datetime.now(UTC) - (60 - number) * MINUTE) for number in range(61)]
    with (
        relay(broker.port) as network,
        scripted(right_answer) as model,
        running_gateway(model.url, **settings(tmp_path, broker=f"mqtt://127.0.0.1:{network.port}")) as client,
        publisher(broker) as sensor,
    ):
        assert connected(client)
        for body in course(10, 16)[:7]:
            sensor.send("lake/1", body)
        assert eventually(lambda: len(kept(tmp_path)) == 7, PATIENCE)
        network.cut()
        for body in hour:
            sensor.send("lake/1", body)
        sensor.flush()
        assert eventually(lambda: "signboard_broker_connected 0.0" in client.get("/metrics").text, PATIENCE)
        assert len(kept(tmp_path)) == 7
        assert shown(client) is None
        network.mend()
        assert_kept_once(7 + len(hour), tmp_path)
        assert eventually(lambda: shown(client) == (10, 16), PATIENCE)
    assert {one.flag for one in kept(tmp_path)} == {Flag.GOOD}


@pytest.mark.parametrize("hours", [10, -10])
def test_a_clock_that_steps_makes_no_wrong_comparison_and_loses_nothing(
    hours: int, tmp_path: Path, broker: Mosquitto
) -> None:
    """The gateway's own clock, in its whole process, for a while; sensors and broker have the true time."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if not found:
        pytest.fail("libfaketime is missing: install it with `apt-get install faketime`")
    step = tmp_path / "step"
    step.write_text("+0")
    clock = {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(step),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    variables = environment(settings(tmp_path, broker=broker.url)) | clock
    with (
        scripted(right_answer) as model,
        gateway_process(model.url, tmp_path / "log", **variables) as (_, url),
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
        publisher(broker) as sensor,
    ):
        assert connected(client)
        for body in course(10, 16):
            sensor.send("lake/1", body)
        assert eventually(lambda: shown(client) == (10, 16), PATIENCE)

        step.write_text(f"{hours:+d}h")
        before = datetime.now(UTC)
        assert eventually(lambda: abs(_date(client) - before) > timedelta(hours=9), PATIENCE), "the clock has stepped"
        for value in (16.0, 16.1, 16.0):
            sensor.send("lake/1", payload(value, datetime.now(UTC)))
        assert eventually(lambda: len(kept(tmp_path)) == 17, PATIENCE)
        time.sleep(2)
        assert shown(client) in (None, (10, 16))

        step.write_text("+0")
        assert eventually(lambda: abs(_date(client) - datetime.now(UTC)) < timedelta(hours=1), PATIENCE)
        for number in range(9):
            sensor.send("lake/1", payload(18.0, datetime.now(UTC) + timedelta(seconds=number)))
        assert eventually(lambda: shown(client) == (10, 18), PATIENCE)
        readings = {(one["yesterday_temp"], one["today_temp"]) for one in client.get("/boards/lake/history").json()}
    assert readings <= {(10, 16), (10, 17), (10, 18)}  # 17: the median on its way
    times = [one.observation.measured_at for one in kept(tmp_path)]
    assert len(times) == len(set(times)) == 14 + 3 + 9


def _date(client: httpx.Client) -> datetime:
    return parsedate_to_datetime(client.get("/health").headers["date"])
