"""A real mosquitto on a free loopback port, which keeps its sessions over restarts; and a publisher with QoS 1."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.scripted_server import eventually
from core.ports import free_port, listens

PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
CONFIG = """
user root
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
listener {port} 127.0.0.1
{more}
"""


class Mosquitto:
    """One broker, which may be stopped and started again.

    Args:
        folder: for its sessions and its log.
        more: lines of its configuration; by default everybody may connect.
    """

    def __init__(self, folder: Path, more: str = "allow_anonymous true") -> None:
        found = shutil.which("mosquitto", path=PLACES)
        if not found:
            pytest.fail("mosquitto is missing: install it with `apt-get install mosquitto`")
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self._folder = folder
        self._config = folder / "mosquitto.conf"
        self._config.write_text(CONFIG.format(folder=folder, port=self.port, more=more))
        self._command = [found, "-c", str(self._config)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        assert eventually(lambda: listens(self.port)), (self._folder / "log").read_text()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None


@contextmanager
def mosquitto(folder: Path, more: str = "allow_anonymous true") -> Iterator[Mosquitto]:
    """Run a broker for the length of a `with` block."""
    broker = Mosquitto(folder, more)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Publisher:
    """A sensor network's side: publishes with QoS 1 until the broker has taken it, over restarts of the broker."""

    def __init__(self, broker: Mosquitto, **more: Any) -> None:
        self.client = Client(CallbackAPIVersion.VERSION2, "publisher", clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        if more:
            self.client.username_pw_set(**more)
        self._sent: set[int] = set()
        self._taken: set[int] = set()
        self.client.on_publish = lambda _client, _data, number, *_: self._taken.add(number)
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand a message over; it goes out in the background."""
        self._sent.add(self.client.publish(topic, payload, qos=1, retain=retain).mid)

    def flush(self) -> None:
        """Wait until the broker has everything."""
        assert eventually(lambda: self._sent <= self._taken, 60)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def publisher(broker: Mosquitto, **more: Any) -> Iterator[Publisher]:
    """Connect a publisher for the length of a `with` block."""
    one = Publisher(broker, **more)
    try:
        yield one
    finally:
        one.close()
