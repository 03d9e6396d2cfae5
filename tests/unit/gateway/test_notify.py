"""What the gateway tells systemd, over a real socket; its whole process is in tests/service/test_gateway_systemd.py."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.notify import keep_alive, notify, watchdog_pause


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def received(systemd: socket.socket) -> list[str]:
    """Return what arrived since the last call."""
    told = []
    with suppress(BlockingIOError):
        while True:
            told.append(systemd.recv(4096).decode())
    return told


def test_a_state_arrives(systemd: socket.socket) -> None:
    notify("READY=1")
    assert received(systemd) == ["READY=1"]


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"signboard-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        assert listening.recv(100) == b"STOPPING=1"


@pytest.mark.timeout(30)  # the fault is that it waits for ever
def test_a_systemd_that_is_gone_or_does_not_read_stops_nothing(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = time.monotonic()
    for _ in range(2000):  # more than the socket's queue holds
        notify("WATCHDOG=1")
    assert 0 < len(received(systemd)) < 2000
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")
    assert time.monotonic() - begin < 10


def test_only_a_watched_process_sends_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert watchdog_pause() is None
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert watchdog_pause() == 10
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_pause() == 10
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_pause() is None


def test_a_hung_event_loop_sends_no_sign_of_life(systemd: socket.socket) -> None:
    async def hang() -> tuple[int, int]:
        alive = asyncio.create_task(keep_alive(0.01))
        await asyncio.sleep(0.2)
        running = len(received(systemd))
        time.sleep(0.2)  # the fault that is tested
        hung = len(received(systemd))
        alive.cancel()
        return running, hung

    running, hung = asyncio.run(hang())
    assert running > 1
    assert hung == 0
