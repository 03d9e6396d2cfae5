"""Simulated sensors as a process: QoS 1 through a real broker, each with the time of its measurement.

Usage: python -m benchmarks.chaos.sensors PORT EVERY FILE NAME...
In: the broker's port, the seconds between two observations of a sensor, the sensors' names. Out: a line of JSON in FILE
when an observation is sent, and another one when the broker has acknowledged it. What a killed process had not yet
handed over is gone, as in a sensor without power.
"""

import json
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.chaos.tally import Sent

STEPS = (2, 3, 4, 3)  # °C from yesterday; half of the parks get colder


def yesterday(park: int) -> int:
    """Return what a park's sensor measured a day ago, °C: different in neighbouring parks, so that a mix-up shows."""
    return 12 + park % 12


def readings(park: int) -> list[tuple[int, int]]:
    """Return all readings that a park can have."""
    way = 1 if park % 2 == 0 else -1
    return [(yesterday(park), yesterday(park) + way * step) for step in STEPS]


def measured(park: int, at: float, every: float) -> float:
    """Return the temperature of a park: a whole degree more or less with each observation."""
    return float(readings(park)[int(at // every + park) % len(STEPS)][1])


def topic(sensor: str) -> str:
    """Return where a sensor publishes."""
    return f"zigbee2mqtt/{sensor}"


def payload(value: float, at: datetime) -> bytes:
    """Return what such a sensor sends."""
    return json.dumps({"temperature": value, "last_seen": at.isoformat(timespec="milliseconds")}).encode()


def read(file: Path) -> list[Sent]:
    """Return what sensors noted in their file."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    sent: dict[tuple[str, float], Sent] = {}
    for line in lines:
        try:
            told = json.loads(line)
            one = Sent(told["sensor"], told["value"], told["at"], told["acknowledged"])
        except (ValueError, KeyError):  # the line that a killed process was writing
            continue
        if one.acknowledged or (one.sensor, one.at) not in sent:
            sent[one.sensor, one.at] = one
    return list(sent.values())


class Sensors:
    """Publishes for all its sensors over one connection, as a radio's gateway does."""

    def __init__(self, port: int, every: float, file: Path, names: list[str]) -> None:
        self._every, self._names = every, names
        self._lock = threading.Lock()
        self._open: dict[int, Sent] = {}
        self._early: set[int] = set()  # acknowledged before `publish` had returned
        self._out = file.open("a", encoding="utf-8", buffering=1)
        self._client = Client(CallbackAPIVersion.VERSION2, f"radio-{names[0]}", clean_session=False)
        self._client.reconnect_delay_set(1, 5)
        self._client.on_publish = self._taken
        self._client.connect_async("127.0.0.1", port, keepalive=10)
        self._client.loop_start()

    def run(self) -> None:
        """Publish for ever, the sensors evenly after each other."""
        pause, number = self._every / len(self._names), 0
        begin = time.monotonic()
        while True:
            self._measure(self._names[number % len(self._names)])
            number += 1
            time.sleep(max(0.0, begin + number * pause - time.monotonic()))

    def _measure(self, name: str) -> None:
        now = datetime.now(UTC)
        at = round(now.timestamp(), 3)
        now = datetime.fromtimestamp(at, UTC)
        value = measured(int(name.removeprefix("p")), at, self._every)
        self._note(Sent(name, value, at, acknowledged=False))
        one = Sent(name, value, at, acknowledged=True)
        number = self._client.publish(topic(name), payload(value, now), qos=1).mid
        with self._lock:
            if number in self._early:
                self._early.discard(number)
                self._note(one)
            else:
                self._open[number] = one

    def _taken(self, _client: Client, _data: Any, number: int, *_: Any) -> None:
        with self._lock:
            if one := self._open.pop(number, None):
                self._note(one)
            else:
                self._early.add(number)

    def _note(self, one: Sent) -> None:
        told = {"sensor": one.sensor, "value": one.value, "at": one.at, "acknowledged": one.acknowledged}
        self._out.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    Sensors(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]).run()
