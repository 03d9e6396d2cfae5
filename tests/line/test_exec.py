"""`python -m serve exec` against a real vLLM: the process becomes the server."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.ports import free_port
from tests.conftest import ROOT, run_room
from tests.line.conftest import NAME


def test_exec_becomes_vllm_and_answers(line: Path, tmp_path: Path) -> None:
    assert line.is_dir()
    port = free_port()
    output = tmp_path / "output"
    command = [sys.executable, "-m", "serve", "exec", "--set", f"name={NAME}", "--port", str(port)]
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        ping = ("clients", "ping", "--url", f"http://127.0.0.1:{port}/v1")
        while run_room(*ping).returncode:
            assert process.poll() is None, output.read_text()
        assert "ready: signboard-" in run_room(*ping).stdout
        assert "serve.vllm_entry" in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert "Loading safetensors" in output.read_text()  # vLLM's log is this process's
        done = run_room("clients", "say", "10", "20", "--url", f"http://127.0.0.1:{port}/v1", "--json")
        assert json.loads(done.stdout)["reading"] == {"yesterday": 10, "today": 20}
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    except subprocess.TimeoutExpired:
        pytest.fail("SIGTERM did not end it within a minute")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
