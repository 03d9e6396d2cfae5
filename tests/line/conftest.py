"""The whole nano line, built once, and one real vLLM server on its end, for the whole session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.ports import free_port
from pipeline.recipe import Recipe, load_recipe
from serve.launch import prepare
from serve.process import ModelServer
from serve.settings import ServeSettings
from tests.conftest import ROOT, run_room

NAME = "pytest"  # runs/pytest: finished stages are skipped when the tests run again


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return load_recipe(ROOT / "recipes/nano.yaml", [f"name={NAME}"])


@pytest.fixture(scope="session")
def line(recipe: Recipe) -> Path:
    """Run data, training, merge and the verdict with the nano recipe; return the run's folder."""
    for arguments in (("data", "build"), ("training", "sft"), ("merge", "all"), ("evaluation", "verdict")):
        done = run_room(*arguments, "--set", f"name={NAME}")
        assert done.returncode == 0, done.stderr
        assert "gemm_4bit" not in done.stderr, "third parties' warnings go to a log"
        assert "{'loss'" not in done.stdout
    return ROOT / recipe.folder


@pytest.fixture(scope="session")
def server(line: Path, recipe: Recipe) -> Iterator[ModelServer]:
    """The served 4-bit checkpoint."""
    assert line.is_dir()
    os.chdir(ROOT)
    with prepare(recipe, ServeSettings(port=free_port())).server as running:
        yield running
