"""Which weights are served on a CPU: as the recipe says, or as was measured here, and only after a passed verdict."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import VerdictError
from pipeline.recipe import Recipe, ServeSection
from pipeline.stage import run_stage
from serve import weights
from serve.launch import Variant
from serve.settings import ServeSettings
from serve.weights import RECORD, Measured, choose_weights

ALLOWED = ServeSettings(allow_failed_verdict=True)
FAST_16 = Measured("id", "cpu", "vllm", four={"1": 20.0, "8": 80.0}, sixteen={"1": 18.0, "8": 100.0})


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run's folder with a 4-bit checkpoint, on a CPU that can serve it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "on_cpu", lambda: True)
    monkeypatch.setattr(weights, "has_avx512", lambda: True)

    def build(folder: Path) -> dict[str, Any]:
        (folder / "model.safetensors").write_text("weights")
        return {}

    folder = recipe("4bit").folder
    run_stage(folder / "awq", format=1, recipe="tiny", settings={}, inputs={}, build=build)
    return folder


def recipe(wanted: str) -> Recipe:
    return Recipe(name="tiny", serve=ServeSection.model_validate({"weights": wanted}))


def keep(run: Path, measured: Measured, **changes: Any) -> None:
    here = {**weights._here(recipe("measured")), **changes}
    (run / RECORD).write_text(json.dumps(asdict(replace(measured, **here))))


def test_four_bits_need_no_measurement(run: Path) -> None:
    keep(run, FAST_16)
    assert choose_weights(recipe("4bit"), ServeSettings(), pytest.fail) == (Variant.AWQ, "")


@pytest.mark.parametrize("wanted", ["16bit", "measured"])
def test_sixteen_bits_are_served_only_if_the_four_passed_their_verdict(wanted: str, run: Path) -> None:
    keep(run, FAST_16)
    with pytest.raises(VerdictError, match="no verdict"):
        choose_weights(recipe(wanted), ServeSettings(), pytest.fail)
    variant, note = choose_weights(recipe(wanted), ALLOWED, pytest.fail)
    assert variant is Variant.MERGED
    assert "Served anyway" in note


@pytest.mark.parametrize(
    ("sixteen", "variant", "text"),
    [
        ({"1": 18.0, "8": 100.0}, Variant.MERGED, "16-bit weights, as measured here: 16 bits write 1.25 times"),
        ({"1": 30.0, "8": 84.0}, Variant.AWQ, "4-bit weights, as measured here: 16 bits write 1.05 times"),
        ({"1": 30.0, "8": 60.0}, Variant.AWQ, "4-bit weights, as measured here: 16 bits write 0.75 times"),
        ({}, Variant.AWQ, "4-bit weights: the 16-bit ones cannot be served beside them here. Too little memory."),
    ],
    ids=["16 bits are faster", "hardly", "4 bits are faster", "16 bits do not fit"],
)
def test_the_record_decides_by_its_eight_callers(
    sixteen: dict[str, float], variant: Variant, text: str, run: Path
) -> None:
    keep(run, replace(FAST_16, sixteen=sixteen, problem="" if sixteen else "Too little memory."))
    chosen, note = choose_weights(recipe("measured"), ALLOWED, pytest.fail)
    assert chosen is variant
    assert note.startswith(text)


@pytest.mark.parametrize("changed", ["checkpoint", "cpu", "vllm"])
def test_a_record_of_another_machine_or_checkpoint_is_measured_again(
    changed: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(run, FAST_16, **{changed: "another"})
    slow = Measured(**weights._here(recipe("measured")), four=FAST_16.four, sixteen={"1": 1.0, "8": 1.0})
    monkeypatch.setattr(weights, "measure", lambda *_: slow)
    said: list[str] = []
    assert choose_weights(recipe("measured"), ALLOWED, said.append)[0] is Variant.AWQ
    assert len(said) == 1
    assert Measured.read(run) == slow, "kept for the next start"


@pytest.mark.parametrize("text", ["", "{}", '{"checkpoint": 1, "more": 2}', "[]"])
def test_a_broken_record_is_none(text: str, run: Path) -> None:
    (run / RECORD).write_text(text)
    assert Measured.read(run) is None


def test_on_a_gpu_four_bits_are_served(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(run, FAST_16)
    monkeypatch.setattr(weights, "on_cpu", lambda: False)
    assert choose_weights(recipe("16bit"), ALLOWED, pytest.fail) == (Variant.AWQ, "")
