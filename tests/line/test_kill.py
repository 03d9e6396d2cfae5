"""A stage that is killed leaves nothing that the next run accepts; the next run finishes with a verified result."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.errors import ArtefactError
from pipeline.manifest import verify
from tests.conftest import ROOT, run_room

NAME = "pytest-kill"
OPTIONS = ("--set", f"name={NAME}", "--set", "train.epochs=2", "--set", "train.checkpoints=10")


@pytest.fixture(scope="module")
def run() -> Path:
    """Return the folder of a run whose stages before the adapter are done."""
    shutil.rmtree(ROOT / "runs" / NAME, ignore_errors=True)  # of an earlier session: an adapter in it would verify
    assert run_room("data", "build", *OPTIONS).returncode == 0
    assert run_room("training", "import", *OPTIONS).returncode == 0
    return ROOT / "runs" / NAME


def kill_when(arguments: list[str], condition: Path) -> None:
    """Start a room and SIGKILL it as soon as a path exists."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not condition.exists():
        assert process.poll() is None, f"{arguments} ended before {condition} was there"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_training_is_not_accepted_and_resumes(run: Path) -> None:
    checkpoint = run / ".adapter.partial/checkpoints/checkpoint-60/trainer_state.json"
    kill_when(["training", "sft", "--force", *OPTIONS], checkpoint)
    with pytest.raises(ArtefactError, match="no finished artefact"):
        verify(run / "adapter")
    done = run_room("training", "sft", "--resume", *OPTIONS)
    assert done.returncode == 0, done.stderr
    manifest = verify(run / "adapter", full=True)
    # 30: the kill may hit the very moment in which the marker of checkpoint 60 is written
    assert manifest.results["resumed_from"] in (30, 60, 90)
    steps = [entry["step"] for entry in json.loads((run / "adapter/log.json").read_text())]
    assert steps == sorted(steps)
    assert manifest.results["steps"] == 302


@pytest.mark.parametrize(
    ("stage", "files"), [("merged", ["model.safetensors"]), ("awq", ["config.json", "model.safetensors"])]
)
def test_a_killed_merge_is_not_accepted(run: Path, stage: str, files: list[str]) -> None:
    if not (run / "adapter").exists():
        assert run_room("training", "sft", *OPTIONS).returncode == 0
    command = {"merged": "fold", "awq": "quantize"}[stage]
    if stage == "awq":
        assert run_room("merge", "fold", *OPTIONS).returncode == 0
    for file in files:  # at each of these moments
        kill_when(["merge", command, "--force", *OPTIONS], run / f".{stage}.partial" / file)
    done = run_room("merge", command, *OPTIONS)
    assert done.returncode == 0, done.stderr
    verify(run / stage, full=True)
    assert not (run / f".{stage}.partial").exists()
