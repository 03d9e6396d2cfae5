"""From the sensor to the board: seconds from measurement to message, the gateway's memory, and a network cut.

Usage: python -m benchmarks.sensor_latency [--parks 20] [--minutes 10] [--model 1.0]
In: a real mosquitto, a gateway process, a scripted model that takes `--model` seconds, simulated parks. Each has five
sensors that report every 10 s, and the weather passes 60 times faster. Out: p50, p90, p99 of
signboard_measured_to_shown_seconds, the gateway's resident memory over the run, and what became of an hour's number of
observations (60 of each sensor) that were sent while the gateway was cut off from the broker for a minute.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.scripted_server import Reply, Request, completion, eventually, right_answer, scripted
from core.ports import free_port
from sensors.park_sensors import ParkSensors, Sensor, read_park_sensors
from sensors.shapes import payload
from sensors.simulate import Message, Span, deliver, messages, simulated
from sensors.store import SensorStore
from tests.support.broker import Mosquitto, Publisher, mosquitto, publisher
from tests.support.relay import Relay, relay

PER_PARK = 5
INTERVAL = 10.0  # seconds
SPEED = 60.0
BROKER = "allow_anonymous true\nautosave_on_changes false\nautosave_interval 60\nmax_inflight_messages 500"
HISTORY = timedelta(hours=26)
CUT_SECONDS = 60
HISTOGRAM = "signboard_measured_to_shown_seconds"
PATIENCE = 300.0
MB = 1e6


def main() -> None:
    """Run all of it and print the results."""
    parser = argparse.ArgumentParser(description="From the sensor to the board.")
    parser.add_argument("--parks", type=int, default=20, help="with five sensors each (%(default)s)")
    parser.add_argument("--minutes", type=float, default=10, help="of the run (%(default)s)")
    parser.add_argument("--model", type=float, default=1.0, help="seconds that the model takes (%(default)s)")
    options = parser.parse_args()

    def answer(request: Request) -> Reply:
        return Reply(completion(json.loads(right_answer(request).body)["choices"][0]["message"]["content"]), delay=slow)

    slow = options.model
    with tempfile.TemporaryDirectory() as name, scripted(answer) as model:
        folder = Path(name)
        parks = _parks(folder, options.parks)
        with (
            mosquitto(folder / "broker", BROKER) as broker,
            relay(broker.port) as network,
            publisher(broker) as sensors,
            _gateway(folder, model.url, network.port) as (process, client),
        ):
            bench = Bench(folder, parks, broker, network, sensors, process, client)
            bench.history()
            bench.run(timedelta(minutes=options.minutes))
            bench.cut()


def _parks(folder: Path, number: int) -> dict[str, ParkSensors]:
    """Write the parks' files, each in a time zone where it is about noon: no board meets a midnight."""
    (folder / "parks").mkdir()
    offset = (datetime.now(UTC).hour - 12) % 24
    zone = f"Etc/GMT{offset:+d}" if offset <= 12 else f"Etc/GMT-{24 - offset}"
    parks = {}
    for park in range(number):
        devices = [
            {"id": f"p{park}-{one}", "adapter": "zigbee2mqtt", "topic": f"p{park}/{one}", "interval": INTERVAL}
            for one in range(PER_PARK)
        ]
        told = {
            "name": "공원",
            "timezone": zone,
            "elements": ["벤치", "산책로"],
            "sensors": {"choice": "median", "devices": devices},
        }
        path = folder / f"parks/p{park}.yaml"
        path.write_text(yaml.safe_dump(told, allow_unicode=True), encoding="utf-8")
        found = read_park_sensors(path, zone)
        assert found
        parks[path.stem] = found
    return parks


@contextmanager
def _gateway(folder: Path, model: str, broker: int) -> Iterator[tuple[psutil.Process, httpx.Client]]:
    port = free_port()
    told = {
        "BROKER": f"mqtt://127.0.0.1:{broker}",
        "DATABASE": f"sqlite:///{folder / 'signboard.db'}",
        "PARKS": str(folder / "parks"),
        "PARK": "p0",
        "MESSAGE_GAP": "0",
        "RATE_LIMIT": "1000000/minute",
    }
    variables = os.environ | {f"SIGNBOARD_GATEWAY_{name}": value for name, value in told.items()}
    command = [sys.executable, "-m", "gateway", "run", f"--port={port}", f"--model-url={model}"]
    with (
        (folder / "gateway.log").open("wb") as log,
        subprocess.Popen(command, env=variables, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client,
    ):
        try:
            assert eventually(lambda: _connected(client), 60), (folder / "gateway.log").read_text()
            yield psutil.Process(process.pid), client
        finally:
            process.terminate()


def _connected(client: httpx.Client) -> bool:
    try:
        return "signboard_broker_connected 1.0" in client.get("/metrics").text
    except httpx.HTTPError:
        return False


class Bench:
    """A running park network, measured."""

    def __init__(
        self,
        folder: Path,
        parks: dict[str, ParkSensors],
        broker: Mosquitto,
        network: Relay,
        publisher: Publisher,
        gateway: psutil.Process,
        client: httpx.Client,
    ) -> None:
        self._folder = folder
        self._parks = parks
        self._broker = broker
        self._network = network
        self._publisher = publisher
        self._gateway = gateway
        self._client = client
        self._sensors: dict[str, Sensor] = {one.id: one for park in parks.values() for one in park.sensors}
        self._sent = 0

    def history(self) -> None:
        """Send the past, so that there is a yesterday."""
        begin = time.monotonic()
        self._start = datetime.now(UTC)
        self._deliver(Span(self._start, HISTORY, timedelta(0), SPEED))
        self._wait()
        seconds = time.monotonic() - begin
        print(f"{self._sent} past observations in {seconds:.0f} s through the broker: {self._sent / seconds:.0f}/s")

    def run(self, length: timedelta) -> None:
        """Let the sensors report; print latency and memory. The first minute is not counted: it is the history's."""
        self._deliver(Span(self._start, timedelta(0), timedelta(minutes=1) + (datetime.now(UTC) - self._start), SPEED))
        before, sent, memory = self._histogram(), self._sent, Memory(self._gateway)
        with memory:
            self._deliver(Span(self._start, timedelta(0), length + (datetime.now(UTC) - self._start), SPEED))
        self._wait()
        after = self._histogram()
        counts = {bound: after[bound] - before.get(bound, 0) for bound in after}
        told = ", ".join(f"p{share:.0f} {quantile(counts, share / 100):.1f} s" for share in (50, 90, 99))
        rate = (self._sent - sent) / length.total_seconds()
        print(
            f"{self._sent - sent} observations in {length}, {rate:.1f}/s, {counts[float('inf')]:.0f} messages: {told}"
        )
        print(memory)

    def cut(self) -> None:
        """Cut the network for a minute, in which each sensor sends as much as in an hour."""
        before, sent = self._client.get("/metrics").text, self._sent
        self._network.cut()
        for _ in range(CUT_SECONDS):
            now = datetime.now(UTC)
            for sensor in self._sensors.values():
                self._send(sensor, payload(sensor.adapter, sensor.source, self._last[sensor.id], now))
            time.sleep(max(0.0, 1 - (datetime.now(UTC) - now).total_seconds()))
        self._publisher.flush()
        assert _counted(self._client.get("/metrics").text) == _counted(before), "nothing came through"
        self._network.mend()
        begin = time.monotonic()
        self._wait()
        seconds = time.monotonic() - begin
        with SensorStore.open(f"sqlite:///{self._folder / 'signboard.db'}") as store:
            ever = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
            times = {
                name: [one.observation.measured_at for one in store.between(name, *ever)] for name in self._sensors
            }
        kept = sum(map(len, times.values()))
        doubled = kept - sum(len(set(one)) for one in times.values())
        print(
            f"cut for {CUT_SECONDS} s, {self._sent - sent} observations waited and were on the disk {seconds:.1f} s "
            f"after its end: of {self._sent} in all, lost {self._sent - kept}, doubled {doubled}"
        )

    def _deliver(self, span: Span) -> None:
        due: list[Message] = []
        self._last: dict[str, float] = {}
        for seed, park in enumerate(self._parks.values()):
            measured = [one for one in simulated(park.sensors, span, seed) if one.at >= span.start or span.past]
            measured = [one for one in measured if span.past or one.at > datetime.now(UTC)]
            due += messages(measured, self._sensors, [], span.start)
            self._last |= {one.sensor: one.value for one in measured}
        due.sort(key=lambda one: one.due)
        if span.past:
            for one in due:
                self._send(one.sensor, one.payload)
        else:
            deliver(due, self._send)

    def _send(self, sensor: Sensor, body: bytes) -> None:
        self._publisher.send(sensor.topic or "", body)
        self._sent += 1

    def _wait(self) -> None:
        self._publisher.flush()
        kept = f"{self._sent} observations on the disk"
        assert eventually(lambda: _counted(self._client.get("/metrics").text) >= self._sent, PATIENCE), kept

    def _histogram(self) -> dict[float, float]:
        return {
            float(one.labels["le"]): one.value
            for one in _samples(self._client.get("/metrics").text)
            if one.name == f"{HISTOGRAM}_bucket"
        }


def _samples(text: str) -> Iterator[Any]:
    for family in text_string_to_metric_families(text):
        yield from family.samples


def _counted(text: str) -> int:
    return round(sum(one.value for one in _samples(text) if one.name == "signboard_observations_total"))


def quantile(counts: dict[float, float], share: float) -> float:
    """Return a quantile of a histogram with cumulative counts, straight within a bucket, as Prometheus computes it."""
    wanted, low, below = share * counts[float("inf")], 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= wanted and count > below:
            return low if bound == float("inf") else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low


class Memory:
    """A process's resident memory, sampled within a `with` block."""

    def __init__(self, process: psutil.Process, every: float = 5.0) -> None:
        self._process = process
        self._every = every
        self._samples: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def __str__(self) -> str:
        first, last = self._samples[: len(self._samples) // 3], self._samples[-(len(self._samples) // 3) :]
        change = statistics.mean(last) - statistics.mean(first)
        return (
            f"memory of the gateway: {self._samples[0] / MB:.1f} MB at first, {self._samples[-1] / MB:.1f} MB at last, "
            f"{max(self._samples) / MB:.1f} MB at most; mean of the last third against the first {change / MB:+.2f} MB"
        )

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self._samples.append(self._process.memory_info().rss)


if __name__ == "__main__":
    main()
