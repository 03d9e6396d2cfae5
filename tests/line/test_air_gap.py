"""Nothing uses the network: the finished line serves in a namespace that counts every outgoing packet."""

import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.air_gap import sealed
from tests.conftest import ROOT
from tests.line.conftest import NAME

LOOK_UP = "import socket\ntry: socket.getaddrinfo('signboard.invalid', 80)\nexcept OSError: pass"
CONNECT = "import socket; s = socket.socket(); s.setblocking(False); s.connect_ex(('198.51.100.1', 80))"
LOOPBACK = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"


@pytest.mark.parametrize(("code", "seen"), [(LOOK_UP, True), (CONNECT, True), (LOOPBACK, False)])
def test_the_seal_counts_what_leaves_and_nothing_else(code: str, seen: bool) -> None:
    result, packets = sealed([sys.executable, "-c", code], timeout=60)
    assert result == 0
    assert (packets > 0) is seen


def test_serving_and_asking_send_nothing_out(line: Path) -> None:
    assert line.is_dir()
    command = [sys.executable, "-m", "evaluation", "demo", "--set", f"name={NAME}"]
    assert sealed(command, timeout=280) == (0, 0)


def test_building_sends_nothing_out() -> None:
    options = ["--set", "name=pytest-sealed", "--set", "data.rows=40", "--set", "train.epochs=1"]
    shutil.rmtree(ROOT / "runs/pytest-sealed", ignore_errors=True)
    for arguments in (["data", "build"], ["training", "sft"], ["merge", "fold"]):
        assert sealed([sys.executable, "-m", *arguments, *options], timeout=280) == (0, 0)
