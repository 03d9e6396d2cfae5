"""The broker of docker-compose.yml without Docker: its own command, configuration and access list, in other folders."""

import os
import queue
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from benchmarks.scripted_server import eventually
from core.ports import free_port, listens
from tests.conftest import ROOT
from tests.service.test_containers import compose_file

PASSWORDS = {"SIGNBOARD_GATEWAY_BROKER_PASSWORD": "one", "SIGNBOARD_SENSORS_PASSWORD": "two"}
PLAYERS = {"SIGNBOARD_PLAYERS_PASSWORD": "three"}
INSIDE = ("/tmp/", "/mosquitto/data/", "/mosquitto/")  # noqa: S108  # the folders in the container


@contextmanager
def compose_broker(folder: Path, passwords: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start the broker as its container does; yield the process and its port."""
    service, port = compose_file(**passwords)["services"]["broker"], free_port()
    shutil.copytree(ROOT / "deploy/mosquitto", folder / "config")
    settings = folder / "config/mosquitto.conf"
    (script,), text = service["command"], settings.read_text().replace("listener 1883", f"listener {port} 127.0.0.1")
    for place in INSIDE:
        script, text = script.replace(place, f"{folder}/"), text.replace(place, f"{folder}/")
    settings.write_text(f"user root\n{text}")
    variables = {"PATH": f"{os.environ['PATH']}:/usr/sbin", **service["environment"]}
    command = [*service["entrypoint"], script.replace("$$", "$")]
    with subprocess.Popen(command, cwd=folder, env=variables, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, port
        finally:
            process.kill()


class User:
    """A client that listens to everything."""

    def __init__(self, port: int, name: str, password: str) -> None:
        answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

        def connected(client: Client, _data: Any, _flags: Any, code: ReasonCode, _more: Any) -> None:
            if code.is_failure:
                answers.put(False)
            else:
                client.subscribe("#", 1)

        self._heard: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(name, password)
        self._client.on_connect = connected
        self._client.on_subscribe = lambda *_: answers.put(True)
        self._client.on_message = lambda _client, _data, message: self._heard.put(message.topic)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.welcome = answers.get(timeout=10)

    def send(self, topic: str) -> None:
        self._client.publish(topic, b"21.4", qos=1).wait_for_publish(10)

    def heard(self, *topics: str) -> bool:
        """Return whether exactly these arrived, in this order."""
        return [self._heard.get(timeout=10) for _ in topics] == list(topics) and self._heard.empty()

    def leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def attempt(port: int, name: str, password: str, topic: str) -> None:
    """Send what must be denied, on a connection of its own: mosquitto 2.0.11 cuts it (max_queued_messages 0)."""
    user = User(port, name, password)
    user.send(topic)
    user.leave()


def test_its_users_may_do_what_they_need(tmp_path: Path) -> None:
    with compose_broker(tmp_path, PASSWORDS) as (_, port):
        assert eventually(lambda: listens(port))
        users = [User(port, "gateway", "one"), User(port, "sensors", "two")]
        gateway, sensors = users
        assert gateway.welcome
        assert sensors.welcome
        sensors.send("park/lake")
        attempt(port, "gateway", "one", "park/lake")  # it invents no measurement
        gateway.send("/oneM2M/resp/Mobius2/Csignboard/json")
        assert gateway.heard("park/lake", "/oneM2M/resp/Mobius2/Csignboard/json")
        assert sensors.heard()
        for name, password in (("sensors", "one"), ("gateway", ""), ("somebody", "two"), ("players", "")):
            users.append(User(port, name, password))
            assert not users[-1].welcome
        for user in users:
            user.leave()
    assert (tmp_path / "passwords").stat().st_mode & 0o077 == 0


def test_only_the_gateway_publishes_boards(tmp_path: Path) -> None:
    boards = ["signboard/lake/message", "homeassistant/sensor/signboard_lake/config"]
    with compose_broker(tmp_path, PASSWORDS | PLAYERS) as (_, port):
        assert eventually(lambda: listens(port))
        users = [User(port, *who) for who in (("gateway", "one"), ("sensors", "two"), ("players", "three"))]
        gateway, sensors, players = users
        assert players.welcome
        for topic in boards:
            attempt(port, "sensors", "two", topic)
        for topic in [*boards, "park/lake"]:
            attempt(port, "players", "three", topic)
        for topic in [*boards, "oneM2M/resp/last"]:
            gateway.send(topic)
        assert gateway.heard(*boards, "oneM2M/resp/last"), "its own, and nobody else's"
        assert players.heard(*boards), "boards and nothing else"
        assert sensors.heard()
        for user in users:
            user.leave()


@pytest.mark.parametrize("missing", PASSWORDS)
def test_it_refuses_to_start_without_its_passwords(missing: str, tmp_path: Path) -> None:
    with compose_broker(tmp_path, PASSWORDS | {missing: ""}) as (process, _):
        _, complaint = process.communicate(timeout=10)
    assert f"Set {missing} in .env." in complaint
    assert process.returncode


def test_it_listens_on_loopback_unless_an_address_is_set() -> None:
    service = compose_file()["services"]["broker"]
    assert service["ports"] == ["127.0.0.1:1883:1883"]
    assert service["profiles"] == ["sensors"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
