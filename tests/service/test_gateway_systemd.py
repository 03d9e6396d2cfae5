"""The gateway under systemd's protocol: a real process and the socket that systemd would have."""

import signal
import socket
import threading
from pathlib import Path

import httpx

from benchmarks.scripted_server import GOOD, eventually, saying, scripted
from tests.service.test_gateway_process import TEN_TWENTY, answers, gateway_process


def test_systemd_hears_ready_alive_and_stopping_before_the_drain_ends(tmp_path: Path) -> None:
    got: list[httpx.Response] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        with (
            scripted(saying(GOOD), saying(GOOD, delay=2)) as model,
            gateway_process(
                model.url, tmp_path / "log", NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="600000"
            ) as (process, url),
        ):
            assert systemd.recv(200).decode().startswith(f"READY=1\nSTATUS=Listens on {url.removeprefix('http://')}")
            assert answers(f"{url}/health")
            assert [systemd.recv(200) for _ in range(5)] == [b"WATCHDOG=1"] * 5
            ask = threading.Thread(
                target=lambda: got.append(httpx.post(f"{url}/generate/temperature", json=TEN_TWENTY, timeout=20))
            )
            ask.start()
            assert eventually(lambda: len(model.requests) == 2)
            process.send_signal(signal.SIGTERM)
            while (told := systemd.recv(200)) == b"WATCHDOG=1":
                pass
            assert told.startswith(b"STOPPING=1")
            assert not got, "the request ended before systemd heard of the stop"
            assert systemd.recv(200) == b"WATCHDOG=1"  # the drain is watched, too
            ask.join()
            assert got[0].json()["generated_text"] == GOOD
            assert process.wait(30) == 0
