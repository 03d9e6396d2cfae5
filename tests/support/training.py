"""A short recipe's data and base, ready to be trained on."""

from pathlib import Path

import pytest

from pipeline.recipe import Recipe, load_recipe
from tests.conftest import ROOT
from training.stages import run_import

NANO = ROOT / "training/base/nano"


def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *overrides: str) -> Recipe:
    """Build data and base of a short recipe in an empty folder."""
    from data.build import build_data

    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(ROOT / "recipes/nano.yaml", [f"base.path={NANO}", "data.rows=8", "train.epochs=1", *overrides])
    build_data(recipe)
    run_import(recipe)
    return recipe
