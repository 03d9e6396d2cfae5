"""The server process with a stand-in for vLLM: readiness, failures, timeouts, and that no process is left."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.scripted_server import Reply, eventually, saying, scripted
from core.errors import ServerTimeout, ServiceError
from core.ports import free_port
from core.prompt import build_messages
from core.reading import Reading
from serve.process import TAIL, ModelServer
from serve.settings import ServeSettings
from tests.conftest import ROOT

STAND_IN = [sys.executable, str(ROOT / "tests/support/stand_in.py")]
Launch = Callable[..., ModelServer]


def settings(port: int, **limits: float) -> ServeSettings:
    values: dict[str, Any] = {"start_timeout": 60, "stop_timeout": 1, **limits}
    return ServeSettings(host="127.0.0.1", port=port, **values)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Callable[[], list[int]]]:
    """Return a function that reads the ids of the stand-in and its children; kill those that a failed test leaves."""
    file = tmp_path / "pids"

    def read() -> list[int]:
        return [int(word) for word in file.read_text().split()] if file.exists() else []

    yield read
    for pid in filter(alive, read()):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """Return a function that makes a server, not yet started, from the stand-in's options."""

    def make(*options: str, on_wait: Callable[[float, str], None] | None = None, **limits: float) -> ModelServer:
        port = free_port()
        command = [*STAND_IN, f"--port={port}", f"--pids={tmp_path / 'pids'}", *options]
        log = tmp_path / "runs" / "serve.log"
        return ModelServer(command, dict(os.environ), "board", settings(port, **limits), log, on_wait)

    return make


def all_gone(pids: list[int], timeout: float = 10.0) -> bool:
    assert pids, "the stand-in never ran"
    return eventually(lambda: not any(map(alive, pids)), timeout)


def test_ready_means_that_a_chat_was_answered(launch: Launch, pids: Callable[[], list[int]]) -> None:
    with launch("--refuse=2") as server:
        asked = [line.split(" ", 1) for line in server.log.read_text(encoding="utf-8").splitlines()]
        assert [path for path, _ in asked] == ["/v1/chat/completions"] * 3, "two refusals, then an answer"
        assert json.loads(asked[-1][1]) == {"model": "board", "messages": build_messages(Reading(10, 20))} | {
            "max_tokens": 1
        }
        assert 0 < server.start_seconds < 60
        assert server.answers()
        assert all(map(alive, pids()))
    assert all_gone(pids())
    assert not server.answers()


@pytest.mark.parametrize(
    ("reply", "ready"),
    [
        pytest.param(saying("어"), True, id="200"),
        pytest.param(Reply("{}", status=503), False, id="503"),
        pytest.param(Reply("{}", status=404), False, id="another model"),
        pytest.param(saying("어", delay=60), False, id="engine stalled"),
        pytest.param(saying("어", drop=True), False, id="dropped"),
    ],
)
def test_answers(reply: Reply, ready: bool, launch: Launch) -> None:
    with scripted(reply) as fake:
        server = launch()
        server.url = fake.url
        assert server.answers(timeout=0.5) is ready
    assert len(fake.requests) == 1


def test_proxy_variables_are_ignored_for_the_servers_own_address(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with scripted(saying("어")) as fake:
        server = launch()
        server.url = fake.url
        assert server.answers()


def test_a_server_that_ends_shows_its_last_log_lines(launch: Launch) -> None:
    server = launch("--exit=3")
    with pytest.raises(ServiceError, match="ended with code 3") as caught, server:
        pytest.fail("it never was ready")
    *_, last = lines = [line for line in caught.value.what.splitlines() if line.startswith(("line", "\ufffd"))]
    assert (len(lines), lines[0], last) == (TAIL, "line 26", "\ufffd out of memory")
    assert str(server.log) in caught.value.todo


@pytest.mark.parametrize("fault", ["--silent", "--hang", "--refuse=1000"])
def test_a_start_timeout_stops_the_server(fault: str, launch: Launch, pids: Callable[[], list[int]]) -> None:
    begin = time.monotonic()
    with pytest.raises(ServerTimeout, match=r"serve\.log"), launch(fault, start_timeout=1):
        pytest.fail("it never was ready")
    assert 1 <= time.monotonic() - begin < 20
    assert all_gone(pids())


CHILDREN = [
    pytest.param([], id="alone"),
    pytest.param(["--stubborn"], id="ignores SIGTERM"),
    pytest.param(["--child=polite"], id="child"),
    pytest.param(["--child=stubborn"], id="child ignores SIGTERM"),
    pytest.param(["--child=stubborn", "--stubborn"], id="both ignore SIGTERM"),
    pytest.param(["--child=stubborn", "--session"], id="child ignores SIGTERM, in a session of its own"),
]


@pytest.mark.parametrize("options", CHILDREN)
def test_stop_ends_the_server_and_its_children(
    options: list[str], launch: Launch, pids: Callable[[], list[int]]
) -> None:
    with launch(*options):
        family = pids()
        assert len(family) == 1 + any("child" in option for option in options)
        assert all(map(alive, family))
    assert all_gone(family, timeout=3)


def test_stop_returns_as_soon_as_the_server_ends(launch: Launch) -> None:
    with launch("--child=polite", stop_timeout=60):
        begin = time.monotonic()
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("child", ["polite", "stubborn"])
@pytest.mark.parametrize("death", ["ends while starting", "crashes while serving"])
def test_children_do_not_outlive_a_server_that_died(
    death: str, child: str, launch: Launch, pids: Callable[[], list[int]]
) -> None:
    if death == "ends while starting":
        with pytest.raises(ServiceError, match="code 3"), launch(f"--child={child}", "--exit=3"):
            pytest.fail("it never was ready")
    else:
        with launch(f"--child={child}") as server:
            os.kill(pids()[0], signal.SIGKILL)
            assert server.wait() == -signal.SIGKILL
    assert all_gone(pids(), timeout=3)


def test_an_interrupted_start_leaves_nothing_behind(launch: Launch, pids: Callable[[], list[int]]) -> None:
    told: list[tuple[float, str]] = []

    def interrupt(waited: float, line: str) -> None:
        told.append((waited, line))
        if pids() and "chat" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), launch("--child=stubborn", "--refuse=1000", on_wait=interrupt):
        pytest.fail("it never was ready")
    assert told == sorted(told)
    assert all_gone(pids(), timeout=3)


def test_stop_may_be_called_at_any_time(launch: Launch, pids: Callable[[], list[int]]) -> None:
    server = launch()
    server.stop()
    server.start()
    server.stop()
    server.stop()
    assert all_gone(pids())


LAUNCHER = """
import os, sys, time
from pathlib import Path
from serve.process import ModelServer
from serve.settings import ServeSettings
port, log, *command = sys.argv[1:]
settings = ServeSettings(host="127.0.0.1", port=int(port), start_timeout=60)
with ModelServer(command, dict(os.environ), "board", settings, Path(log)):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_killed_launcher_leaves_no_server_behind(tmp_path: Path, pids: Callable[[], list[int]]) -> None:
    port = free_port()
    command = [*STAND_IN, f"--port={port}", f"--pids={tmp_path / 'pids'}"]
    arguments = [sys.executable, "-c", LAUNCHER, str(port), str(tmp_path / "log"), *command]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE) as launcher:
        assert launcher.stdout
        assert launcher.stdout.readline() == b"ready\n"
        assert all(map(alive, pids()))
        launcher.kill()
    assert all_gone(pids())
