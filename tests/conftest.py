"""Shared fixtures: the whole nano line, built once, and one real vLLM server on its end, for the whole session.

Hypothesis gives the same examples every time, without time limits, and writes nothing into the repository.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

from data.recipe import Recipe, load_recipe
from serve.launch import prepare
from serve.server import VllmServer
from serve.settings import ServeSettings
from tests.scripted_server import free_port

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "signboard-hypothesis")
settings.register_profile("signboard", deadline=None, derandomize=True, database=None)
settings.load_profile("signboard")

ROOT = Path(__file__).parents[1]
NAME = "pytest"  # runs/pytest: finished stages are skipped when the tests run again


def run_room(*arguments: str, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run a room's command line as a user would, from the repository root."""
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return load_recipe(ROOT / "recipes/nano.yaml", [f"name={NAME}"])


@pytest.fixture(scope="session")
def line(recipe: Recipe) -> Path:
    """Run data, training and merge with the nano recipe; return the run's folder."""
    for arguments in (("data", "build"), ("training", "sft"), ("merge",)):
        done = run_room(*arguments, "--set", f"name={NAME}")
        assert done.returncode == 0, done.stderr
    return ROOT / recipe.run


@pytest.fixture(scope="session")
def server(line: Path, recipe: Recipe) -> Iterator[VllmServer]:
    """The served 4-bit checkpoint."""
    assert line.is_dir()
    os.chdir(ROOT)
    with prepare(recipe, ServeSettings(port=free_port()))[0] as running:
        yield running
