"""What all layers share: where the repository is, how a room's command line is run, how hypothesis behaves.

tests/unit: seconds, no model, server or browser. tests/service: processes, training, a browser; minutes.
tests/line: the whole nano line and a real vLLM. Each layer mirrors the rooms.

Hypothesis gives the same examples every time, without time limits, and writes nothing into the repository.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from pipeline.environment import prepare_environment

prepare_environment()  # before any test loads torch

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "signboard-hypothesis")
settings.register_profile("signboard", deadline=None, derandomize=True, database=None)
settings.load_profile("signboard")

ROOT = Path(__file__).parents[1]
DATABASE = "SIGNBOARD_GATEWAY_DATABASE"


@pytest.fixture(scope="module", autouse=True)
def _database_of_a_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the gateways that a module's fixtures start a database of their own: it keeps boards from run to run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATABASE, f"sqlite:///{tmp_path_factory.mktemp('database')}/signboard.db")
        yield


@pytest.fixture(autouse=True)
def _database_of_a_test(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the gateways that a test starts a database of their own."""
    monkeypatch.setenv(DATABASE, f"sqlite:///{tmp_path_factory.mktemp('database')}/signboard.db")


def run_room(*arguments: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run a room's command line as a user would, from the repository root."""
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )
