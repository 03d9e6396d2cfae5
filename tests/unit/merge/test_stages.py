"""Folding and quantizing a tiny line for real: what is calibrated on, what is measured, and what is never published."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import merge.awq
import merge.fold
from core.errors import StageError
from merge.proofs import HeldOut, compare_awq
from merge.stages import run_fold, run_quantize, ship_behaviour
from pipeline.manifest import Manifest, verify
from pipeline.recipe import GenerationSection, Recipe
from tests.support.tiny_line import NANO, RECIPE, build_tiny_line, token_ids

QUANTIZE, FOLD = merge.awq.quantize, merge.fold.fold_checkpoint


@dataclass(frozen=True)
class Line:
    """A quantized tiny line: its manifests, and the rows that AutoAWQ was calibrated on."""

    recipe: Recipe
    merged: Manifest
    awq: Manifest
    calibration: list[list[int]]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """Build the whole line once; tests build on it in its folder."""
    calibration: list[list[int]] = []

    def recorded(merged: Path, rows: list[list[int]], *more: Any) -> None:
        calibration.extend(rows)
        QUANTIZE(merged, rows, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("line"))
        build_tiny_line()
        merged, _ = run_fold(RECIPE)
        with pytest.MonkeyPatch.context() as recording:
            recording.setattr("merge.awq.quantize", recorded)
            awq, _ = run_quantize(RECIPE)
        yield Line(RECIPE, merged, awq, calibration)


def with_section(section: str, **changes: Any) -> Recipe:
    """Return the recipe with other values in a section."""
    return RECIPE.model_copy(update={section: getattr(RECIPE, section).model_copy(update=changes)})


def damaged_scales(folder: Path) -> None:
    """Make an AWQ checkpoint worse: every scale of its first layer three times what it was."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    scales = {name: tensor * 3 for name, tensor in tensors.items() if "layers.0." in name and name.endswith("scales")}
    assert scales
    save_file(tensors | scales, path, metadata={"format": "pt"})


def test_calibration_rows_are_training_rows_evenly_picked_and_none_is_held_out(line: Line) -> None:
    train = [ids for ids, _ in token_ids(line.recipe, "train")]
    held_out = [ids for split in ("validation", "test") for ids, _ in token_ids(line.recipe, split)]
    assert [row for row in line.calibration if row in held_out] == []
    assert line.calibration == train[0:27:3], "every third of 30 rows: 9 are asked for"
    assert line.awq.results["calibration_rows"] == len(line.calibration) == line.recipe.quantize.calibration_rows
    assert line.awq.results["calibration_tokens"] == sum(map(len, line.calibration))


def test_held_out_rows_are_those_of_validation_and_test(line: Line) -> None:
    held_out = HeldOut.read(line.recipe.folder / "data", line.recipe.folder / "merged")
    assert held_out.rows == token_ids(line.recipe, "validation") + token_ids(line.recipe, "test")


def test_loss_ratio_is_the_loss_of_awq_over_that_of_merged(line: Line) -> None:
    found = line.awq.results
    assert found["loss_merged"] == line.merged.results["loss_merged"]
    assert found["loss_ratio"] == pytest.approx(found["loss_awq"] / found["loss_merged"], abs=1e-4)


def test_a_quantization_that_loses_has_a_loss_ratio_above_one_and_is_not_published(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(merged: Path, rows: list[list[int]], target: Path, settings: Any) -> None:
        QUANTIZE(merged, rows, target, settings)
        damaged_scales(target)
        held_out = HeldOut.read(line.recipe.folder / "data", merged)
        assert compare_awq(merged, target, held_out, 32)["loss_ratio"] > 1.05

    monkeypatch.setattr("merge.awq.quantize", damaged)
    with pytest.raises(StageError, match="AWQ raises the held-out loss"):
        run_quantize(with_section("quantize", max_loss_ratio=1.05))
    assert verify(line.recipe.folder / "awq", full=True) == line.awq


def test_a_merge_that_differs_from_base_and_adapter_is_not_published(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice_as_much(base: Path, adapter: Any, *more: Any, **options: Any) -> dict[str, Any]:
        return FOLD(base, dataclasses.replace(adapter, scaling=2 * adapter.scaling), *more, **options)

    monkeypatch.setattr("merge.fold.fold_checkpoint", twice_as_much)
    with pytest.raises(StageError, match="differs from base \\+ adapter by"):
        run_fold(RECIPE, force=True)
    assert verify(line.recipe.folder / "merged", full=True) == line.merged


def test_the_merge_threshold_of_the_recipe_decides(line: Line) -> None:
    measured = line.merged.results["max_logprob_difference"]
    assert 0 < measured < RECIPE.merge.max_logprob_difference, "rounding to 16 bit, and no more"
    with pytest.raises(StageError, match=str(measured)):
        run_fold(with_section("merge", max_logprob_difference=measured / 2))
    assert verify(line.recipe.folder / "merged", full=True) == line.merged


def test_other_sampling_defaults_are_another_merged_checkpoint(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a recipe's new temperature would never reach the checkpoint: its stage would be skipped."""

    def built(*_: Any, **__: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr("merge.fold.fold_checkpoint", built)
    assert run_fold(RECIPE) == (line.merged, False)
    with pytest.raises(KeyboardInterrupt):
        run_fold(with_section("generation", temperature=0.3))


def test_a_bare_call_ends_at_the_end_of_turn_and_at_every_other_end_of_the_base(tmp_path: Path) -> None:
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((NANO / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": 7}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, 2], "max_new_tokens": 8}))
    ship_behaviour(tmp_path, GenerationSection(temperature=0.3), 64)
    shipped = json.loads((tmp_path / "generation_config.json").read_text())
    config = json.loads((tmp_path / "config.json").read_text())
    assert (shipped["eos_token_id"], config["eos_token_id"]) == ([2, 7, 9], 2), "<|im_end|> is 2"
    assert shipped["pad_token_id"] == config["pad_token_id"] == 0
    assert (shipped["do_sample"], shipped["temperature"], shipped["max_new_tokens"]) == (True, 0.3, 64)


def test_the_merged_weights_are_16_bit(line: Line) -> None:
    tensors = load_file(line.recipe.folder / "merged" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
