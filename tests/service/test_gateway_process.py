"""The gateway as a process: graceful shutdown, logs without secrets, a full disk, restarts together with vLLM."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.scripted_server import GOOD, eventually, right_answer, saying, scripted
from core.ports import free_port
from gateway.keys import KeyScope, new_key
from gateway.settings import GatewaySettings
from pipeline.recipe import ServeSection
from serve.process import ModelServer
from serve.settings import ServeSettings
from serve.supervisor import GatewayProcess, supervise
from tests.conftest import ROOT, run_room

TEN_TWENTY = {"yesterday_temp": 10, "today_temp": 20}


@contextmanager
def gateway_process(model_url: str, output: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run `python -m gateway run` as a user would; yield it and its address once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "gateway", "run", f"--port={port}", f"--model-url={model_url}"]
    url = f"http://127.0.0.1:{port}"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=os.environ | variables
        ) as process,
    ):
        try:
            assert eventually(lambda: answers(f"{url}/health"), 120), output.read_text()
            yield process, url
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        return bool(httpx.get(url, trust_env=False, timeout=5).status_code)
    except httpx.HTTPError:
        return False


def test_sigterm_drains_running_requests_and_closes_streams(tmp_path: Path) -> None:
    got: list[httpx.Response] = []
    with (
        scripted(saying(GOOD), saying(GOOD, delay=2)) as model,
        # longer than what follows is waited for: an open stream must not be what the end is waited for
        gateway_process(model.url, tmp_path / "log", SIGNBOARD_GATEWAY_DEADLINE="120") as (process, url),
    ):
        ask = threading.Thread(
            target=lambda: got.append(httpx.post(f"{url}/generate/temperature", json=TEN_TWENTY, timeout=20))
        )
        ask.start()
        with httpx.stream("GET", f"{url}/events", timeout=20):
            assert eventually(lambda: len(model.requests) == 2)
            process.send_signal(signal.SIGTERM)
            ask.join()
            assert got[0].json()["generated_text"] == GOOD
        assert process.wait(30) == 0


def test_the_log_is_json_names_the_request_and_tells_no_secret(tmp_path: Path) -> None:
    secret, line = new_key("park", [KeyScope.BOARD])
    in_address, other_line = new_key("mobius", [KeyScope.SENSORS])
    log = tmp_path / "log"
    with (
        scripted(saying(GOOD)) as model,
        gateway_process(model.url, log, SIGNBOARD_GATEWAY_KEYS=f"{line} {other_line}") as (process, url),
    ):
        headers = {"authorization": f"Bearer {secret}", "x-request-id": "park-7"}
        assert httpx.post(f"{url}/generate/temperature", json=TEN_TWENTY, headers=headers).status_code == 200
        for place in ("sensors/lake", "sensor/lake"):  # a typo in the address is logged too
            assert httpx.post(f"{url}/{place}/onem2m/{in_address}", json={}).status_code in (401, 404)
        process.terminate()
        process.wait(15)
    lines = [json.loads(text) for text in log.read_text().splitlines()]
    (request,) = [entry for entry in lines if entry.get("request_id") == "park-7"]
    assert (request["key"], request["path"], request["status"]) == ("park", "/generate/temperature", 200)
    assert "/sensors/lake/onem2m/…" in {entry.get("path") for entry in lines}
    assert secret not in log.read_text()
    assert in_address not in log.read_text()
    assert GOOD not in log.read_text()


def test_a_full_disk_under_the_log_stops_no_board() -> None:
    with scripted(right_answer) as model, gateway_process(model.url, Path("/dev/full")) as (_, url):
        for _ in range(50):
            assert httpx.post(f"{url}/generate/temperature", json=TEN_TWENTY).status_code == 200


def test_endless_headers_are_rejected_in_bounded_memory(tmp_path: Path) -> None:
    with scripted(right_answer) as model, gateway_process(model.url, tmp_path / "log") as (process, url):
        before = psutil.Process(process.pid).memory_info().rss
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=10) as caller:
            caller.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            with suppress(ConnectionError):
                for number in range(4000):
                    caller.sendall(f"X-Long-{number}: {'x' * 4000}\r\n".encode())
                assert caller.recv(100).startswith(b"HTTP/1.1 4")
        assert httpx.get(f"{url}/health").status_code == 200
        assert psutil.Process(process.pid).memory_info().rss - before < 8 << 20


def test_the_gateway_drains_before_vllm_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    command = [sys.executable, str(ROOT / "tests/support/stand_in.py"), f"--port={port}", f"--pids={tmp_path / 'pids'}"]
    server = ModelServer(command, dict(os.environ), "board", ServeSettings(port=port), tmp_path / "vllm.log", None)
    gateway = GatewayProcess(
        GatewaySettings(port=free_port()), server.url, ServeSection(model_name="board"), tmp_path / "gateway.log"
    )
    order: list[str] = []

    def recorded(stop: Callable[[], None], name: str) -> Callable[[], None]:
        def run() -> None:
            stop()
            order.append(name)

        return run

    monkeypatch.setattr(gateway, "stop", recorded(gateway.stop, "gateway"))
    monkeypatch.setattr(server, "stop", recorded(server.stop, "vllm"))

    def interrupt(_text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise([server], [gateway], interrupt)
    assert order.index("gateway") < order.index("vllm")


def test_a_taken_port_and_a_key_on_the_command_line() -> None:
    with scripted(saying(GOOD)) as model:
        port = model.url.split(":")[2].split("/")[0]
        done = run_room("gateway", "run", "--port", port)
        assert (done.returncode, "port" in done.stderr) == (1, True)
    done = run_room("gateway", "key", "park", "--scope", "board", "--scope", "openai")
    assert done.returncode == 0
    assert "park:board+openai:" in done.stdout
    assert run_room("gateway", "key", "두 번").returncode == 1


def test_killed_vllm_and_gateway_are_restarted(tmp_path: Path) -> None:
    """The stand-in for vLLM never answers as a model: only the restarts are tested."""
    port = free_port()
    command = [sys.executable, str(ROOT / "tests/support/stand_in.py"), f"--port={port}", f"--pids={tmp_path / 'pids'}"]
    server = ModelServer(command, dict(os.environ), "board", ServeSettings(port=port), tmp_path / "vllm.log", None)
    gateway = GatewayProcess(
        GatewaySettings(port=free_port()), server.url, ServeSection(model_name="board"), tmp_path / "gateway.log"
    )
    told: list[str] = []
    script = threading.Thread(target=lambda: _kill_both(server, gateway, told))

    def tell(text: str) -> None:
        told.append(text)
        if len(told) == 1:
            script.start()

    with pytest.raises(KeyboardInterrupt):
        supervise([server], [gateway], lambda text: _tell_or_stop(text, tell, told))
    script.join()
    assert [text.split()[0].strip("[]") for text in told] == ["green]ready[/green", "yellow]vLLM", "green]ready[/green"]
    assert not answers(f"{gateway.url}/health")


def _kill_both(server: ModelServer, gateway: GatewayProcess, _told: list[str]) -> None:
    assert eventually(lambda: answers(f"{gateway.url}/health"), 30)
    first: Any = gateway._process
    os.kill(first.pid, signal.SIGKILL)
    assert eventually(lambda: gateway._process is not first and answers(f"{gateway.url}/health"), 30)
    vllm: Any = server._process
    os.kill(vllm.pid, signal.SIGKILL)


def _tell_or_stop(text: str, tell: Any, told: list[str]) -> None:
    tell(text)
    if len(told) == 3:
        raise KeyboardInterrupt
