"""Two real gateways on one real PostgreSQL, with and without a real HAProxy before them."""

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from benchmarks.scripted_server import Reply, Request, ScriptedServer, eventually, right_answer, scripted
from core.ports import free_port
from gateway.problems import ProblemError
from tests.conftest import run_room
from tests.service.test_gateway_process import gateway_process
from tests.service.test_sensors import DEVICES, payload, write_park
from tests.service.test_state import metric, say, today
from tests.support.broker import mosquitto, publisher
from tests.support.haproxy import haproxy_command
from tests.support.postgres import QUOTED, USER, Postgres
from tests.support.relay import Relay

TAKEN_OVER = 10.0  # seconds, as docs/gateway.md says
PATIENCE = 60


@pytest.fixture
def model() -> Iterator[ScriptedServer]:
    with scripted(right_answer) as running:
        yield running


@contextmanager
def gateway(
    model: ScriptedServer, url: str, log: Path, **more: str
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    variables = {"SIGNBOARD_GATEWAY_DATABASE": url, "SIGNBOARD_GATEWAY_GATEWAYS": "2"} | more
    with (
        gateway_process(model.url, log, **variables) as (process, address),
        httpx.Client(base_url=address, trust_env=False, timeout=30) as client,
    ):
        yield process, client


@contextmanager
def two(model: ScriptedServer, url: str, folder: Path, **more: str) -> Iterator[list[httpx.Client]]:
    with (
        gateway(model, url, folder / "one", **more) as (_, one),
        gateway(model, url, folder / "other", **more) as (_, other),
    ):
        yield [one, other]


def test_what_one_shows_the_others_watchers_see_at_once(
    server: Postgres, model: ScriptedServer, tmp_path: Path
) -> None:
    with two(model, server.new_database(), tmp_path) as (one, other):
        seen: list[int] = []

        def watch() -> None:
            with other.stream("GET", "/events?board=lake") as stream:
                for line in stream.iter_lines():
                    if line.startswith("data: {"):
                        message = json.loads(line.removeprefix("data: "))["message"]
                        seen.append(message["today_temp"] if message else 0)
                    if len(seen) == 3:
                        return

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert eventually(lambda: seen == [0], PATIENCE)
        for reading in (20, 21):
            say(one, reading)
            assert eventually(lambda reading=reading: seen[-1] == reading, 5)  # type: ignore[misc]
        watcher.join()
        assert len(other.get("/boards/lake/history").json()) == 2
        assert one.post("/boards/lake/forget", json={}).status_code == 204
        assert eventually(lambda: other.get("/boards/lake").status_code == 404, 5)


def test_what_an_administrator_blanks_on_one_goes_dark_on_the_other(
    server: Postgres, model: ScriptedServer, tmp_path: Path
) -> None:
    with two(model, server.new_database(), tmp_path) as (one, other):
        say(one, 20)
        assert eventually(lambda: other.get("/boards/lake?blank=true").json()["message"], PATIENCE)
        assert one.post("/admin/boards/lake/blank", json={"minutes": 30}).status_code == 200
        assert eventually(lambda: other.get("/boards/lake").json()["message"] is None, 5)
        assert len(other.get("/boards/lake/history").json()) == 1


def test_a_key_is_valid_and_refused_on_both(server: Postgres, model: ScriptedServer, tmp_path: Path) -> None:
    url = server.new_database()
    key = run_room("gateway", "key", "office", "--store", f"--database={url}").stdout.split()[-1]
    with two(model, url, tmp_path) as clients:
        for client in clients:
            client.headers["authorization"] = f"Bearer {key}"
            assert client.get("/boards/lake?blank=true").status_code == 200
        assert run_room("gateway", "revoke", "office", f"--database={url}").returncode == 0
        for client in clients:
            assert eventually(lambda client=client: client.get("/boards/lake").status_code == 401, 5)  # type: ignore[misc]


def leaders(clients: list[httpx.Client]) -> list[int]:
    return [int(metric(client, "signboard_leader ")) for client in clients]


def test_exactly_one_hears_the_broker_and_the_other_takes_over_after_kill_9(
    server: Postgres, model: ScriptedServer, tmp_path: Path
) -> None:
    url = server.new_database()
    with mosquitto(tmp_path / "broker") as broker, publisher(broker) as sensor, ExitStack() as stack:
        settings = {
            "SIGNBOARD_GATEWAY_BROKER": broker.url,
            "SIGNBOARD_GATEWAY_PARKS": str(write_park(tmp_path, DEVICES)),
            "SIGNBOARD_GATEWAY_PARK": "lake",
            "SIGNBOARD_GATEWAY_LOOK_SECONDS": "0.2",
        }
        started = [stack.enter_context(gateway(model, url, tmp_path / name, **settings)) for name in ("one", "other")]
        clients = [client for _, client in started]
        assert eventually(lambda: sum(leaders(clients)) == 1, PATIENCE)
        leading = leaders(clients).index(1)
        process, _ = started[leading]
        follower = clients[1 - leading]
        assert eventually(lambda: "signboard_broker_connected 1.0" in clients[leading].get("/metrics").text, PATIENCE)
        assert "signboard_broker_connected" not in follower.get("/metrics").text
        begin = time.monotonic()
        process.send_signal(signal.SIGKILL)
        assert eventually(lambda: metric(follower, "signboard_leader ") == 1, TAKEN_OVER)
        assert eventually(lambda: "signboard_broker_connected 1.0" in follower.get("/metrics").text, TAKEN_OVER)
        print(f"taken over after {time.monotonic() - begin:.1f} s")
        topic = re.search(r"topic: ([a-z0-9/]+)", DEVICES)
        assert topic
        sensor.send(topic[1], payload(21.4, datetime.now(UTC)))
        assert eventually(lambda: any(one["latest"] for one in follower.get("/sensors").json()), PATIENCE)


def test_a_leader_that_is_cut_off_counts_itself_out_before_the_other_leads(
    server: Postgres, model: ScriptedServer, tmp_path: Path
) -> None:
    url = server.new_database()
    relay = Relay(server.port)
    relay.start()
    try:
        behind = re.sub(r":\d+/", f":{relay.port}/", url)
        assert f"{USER}:{QUOTED}" in behind
        with gateway(model, behind, tmp_path / "one") as (_, one):
            assert eventually(lambda: metric(one, "signboard_leader ") == 1, PATIENCE)
            with gateway(model, url, tmp_path / "other") as (_, other):
                say(one, 20)
                assert eventually(lambda: today(other) == 20, 5)
                relay.cut()
                begin = time.monotonic()
                both: list[int] = []
                while both[-1:] != [1] and time.monotonic() - begin < TAKEN_OVER:
                    both.append(leaders([one])[0] * 2 + leaders([other])[0])
                    time.sleep(0.02)  # or a fast machine uses up the rate limit
                assert both[-1] == 1, "the other one leads"
                assert 3 not in both, "never both"
                assert say(one, 21)["board"] == "lake", "the one that is cut off shows from memory"
                say(other, 22)
                relay.mend()
                assert eventually(lambda: today(one) == 22, PATIENCE), "the younger one, from the other gateway"
                assert eventually(lambda: one.get("/health").json()["database"] == "up", PATIENCE)
                assert today(other) == 22
    finally:
        relay.stop()


@contextmanager
def haproxy(folder: Path, ports: list[int]) -> Iterator[str]:
    """Run HAProxy with the shipped configuration before gateways at these ports."""
    port = free_port()
    with subprocess.Popen(haproxy_command(folder / "haproxy.cfg", port, ports)) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def test_behind_haproxy_a_killed_gateway_costs_no_board(
    server: Postgres, model: ScriptedServer, tmp_path: Path
) -> None:
    url = server.new_database()
    with gateway(model, url, tmp_path / "one") as (process, one), gateway(model, url, tmp_path / "other") as (_, other):
        ports = [int(str(client.base_url.port)) for client in (one, other)]
        with haproxy(tmp_path, ports) as address, httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
            assert eventually(lambda: _answers(client), PATIENCE)
            for reading in range(20, 24):
                say(client, reading)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert eventually(lambda: _answers(client), 5)
            time.sleep(3)  # two failed checks: nothing goes to the dead one any more
            for reading in range(24, 30):
                say(client, reading)
            assert today(client) == 29
            assert len(client.get("/boards/lake/history").json()) == 10


def test_haproxy_answers_without_gateways_as_a_gateway_does(tmp_path: Path) -> None:
    with haproxy(tmp_path, [free_port(), free_port()]) as address:
        assert eventually(lambda: _reachable(address), PATIENCE)
        answer = httpx.get(f"{address}/boards/lake", trust_env=False, timeout=30)
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["content-type"] == "application/problem+json"
    assert (
        answer.json()
        == ProblemError("gateway_down", "No gateway answers. Ask again in some seconds.").body().model_dump()
    )


def _reachable(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False, timeout=5).status_code >= 500
    except httpx.HTTPError:
        return False


def test_behind_haproxy_a_model_that_is_silent_takes_no_gateway_out(server: Postgres, tmp_path: Path) -> None:
    silent = threading.Event()

    def answer(request: Request) -> Reply:
        return replace(right_answer(request), delay=60 if silent.is_set() else 0)

    with scripted(answer) as model, two(model, server.new_database(), tmp_path) as clients:
        ports = [int(str(client.base_url.port)) for client in clients]
        with haproxy(tmp_path, ports) as address, httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
            assert eventually(lambda: _answers(client), PATIENCE)
            say(client, 20)
            assert eventually(lambda: all(today(one) == 20 for one in clients), PATIENCE)
            silent.set()
            end = time.monotonic() + 10
            while time.monotonic() < end:
                assert today(client) == 20
                time.sleep(0.1)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False
