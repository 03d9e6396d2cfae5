"""oneM2M from a real server, acmecse: it verifies subscriptions, notifies over HTTP and MQTT, and is answered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage

from benchmarks.scripted_server import eventually, right_answer, scripted
from gateway.keys import KeyScope, new_key
from tests.service.test_sensors import PATIENCE, connected, kept, settings
from tests.support.broker import Mosquitto, mosquitto, publisher
from tests.support.cse import Cse, running_cse
from tests.support.gateway_server import running_gateway

DEVICES = """
    - {id: lake-ktx, adapter: onem2m, field: Temperature, unit: °C}
"""
OVER_MQTT = """
    - {{id: lake-1, adapter: onem2m, topic: park/lake, field: Temperature, unit: °C, device: {container}}}
    - {{id: lake-2, adapter: onem2m, topic: /oneM2M/req/id-in/Csignboard/json, field: Temperature, unit: °C}}
    - {{id: lake-3, adapter: onem2m, topic: park/lake, field: Temperature, unit: °C, device: another}}
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="module")
def cse(broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cse]:
    with running_cse(tmp_path_factory.mktemp("onem2m") / "cse", broker.port) as running:
        yield running


@pytest.fixture(scope="module")
def container(cse: Cse) -> str:
    return cse.prepare()


@pytest.mark.usefixtures("container")
def test_a_subscription_is_verified_and_its_notifications_arrive_over_http(cse: Cse, tmp_path: Path) -> None:
    """Named as an application the receiver is verified, with key, id and result code; as an address it is not."""
    secret, line = new_key("mobius", [KeyScope.SENSORS])
    both, both_line = new_key("office", [KeyScope.BOARD, KeyScope.SENSORS])
    with (
        scripted(right_answer) as model,
        running_gateway(model.url, **settings(tmp_path, DEVICES, keys=f"{line} {both_line}")) as client,
    ):
        place = f"{client.base_url}/sensors/lake-ktx/onem2m"
        for name, address in (("none", place), ("wrong", f"{place}/{secret[:-1]}"), ("mighty", f"{place}/{both}")):
            refused = cse.subscribe(name, cse.application(name, address))
            assert "Verification request failed" in refused.text, "an address holds a key of sensors only, or nothing"
        assert cse.subscribe("verified", cse.application("verified", f"{place}/{secret}")).status_code == 201
        cse.measure({"Temperature": 7.25})
        cse.measure('{"Temperature": "7.5"}')  # terminals often write JSON as text
        cse.measure({"Humidity": 40})
        assert eventually(lambda: len(kept(tmp_path, "lake-ktx")) == 2, PATIENCE)
        assert cse.subscribe("direct", f"{place}/{secret}").status_code == 201
        cse.measure({"Temperature": 7.75})  # comes twice, is kept once
        assert eventually(lambda: len(kept(tmp_path, "lake-ktx")) == 3, PATIENCE)
    found = [one.observation for one in kept(tmp_path, "lake-ktx")]
    assert [one.value for one in found] == [7.25, 7.5, 7.75]
    assert all(one.timed for one in found)


def test_notifications_arrive_over_mqtt_and_are_acknowledged(
    cse: Cse, broker: Mosquitto, container: str, tmp_path: Path
) -> None:
    answers: list[dict[str, Any]] = []

    def answered(_client: Client, _data: Any, message: MQTTMessage) -> None:
        answers.append(json.loads(message.payload))

    options = settings(tmp_path, OVER_MQTT.format(container=container), broker=broker.url)
    with (
        scripted(right_answer) as model,
        running_gateway(model.url, **options) as client,
        publisher(broker) as watcher,
    ):
        assert connected(client)
        watcher.client.on_message = answered
        watcher.client.subscribe("/oneM2M/resp/id-in/Csignboard/#", 1)
        # Here the server waits for our answer, and makes no subscription without it.
        assert cse.subscribe("verified-mqtt", cse.application("signboard", broker.url)).status_code == 201
        assert cse.subscribe("own-topic", f"{broker.url}/park/lake").status_code == 201
        cse.measure({"Temperature": -3.5})
        assert eventually(lambda: len(kept(tmp_path, "lake-1")) == len(kept(tmp_path, "lake-2")) == 1, PATIENCE)
        assert eventually(lambda: len(answers) == 2, PATIENCE)  # the verification, the measurement
    assert kept(tmp_path, "lake-1")[0].observation.value == -3.5
    assert kept(tmp_path, "lake-3") == [], "another container's sensor"
    assert [one["rsc"] for one in answers] == [2000, 2000]
    assert all(one["to"] == "/id-in" and one["rqi"] for one in answers)
