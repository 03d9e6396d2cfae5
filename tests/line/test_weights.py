"""The recipe's choice of 4 or 16 bits: measured on real servers at the first start, and only then."""

import os
from pathlib import Path

import pytest

from core.ports import free_port
from pipeline.recipe import Recipe
from serve import weights
from serve.launch import Variant
from serve.settings import ServeSettings
from serve.weights import RECORD, Measured, choose_weights


def test_both_are_measured_at_the_first_start_only(line: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chdir(Path(line).parents[1])
    (line / RECORD).unlink(missing_ok=True)
    monkeypatch.setattr(weights, "TURNS", 2)
    monkeypatch.setattr(weights, "has_avx512", lambda: True)  # without it, 16 bits are served both times
    wanted = recipe.model_copy(update={"serve": recipe.serve.model_copy(update={"weights": "measured"})})
    settings = ServeSettings(port=free_port())
    said: list[str] = []
    first = choose_weights(wanted, settings, said.append)
    measured = Measured.read(line)
    assert measured is not None
    assert min(measured.four, measured.sixteen) > 1
    assert first[0] is (Variant.MERGED if measured.gain > weights.CLEARLY else Variant.AWQ)
    assert f"{measured.gain:.2f} times" in first[1]
    assert choose_weights(wanted, settings, pytest.fail) == first, "the record is enough"
    assert len(said) == 1
