"""The artefacts of training and merge on the real line."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file


def test_training_lowers_the_loss_and_leaves_only_the_adapter(line: Path) -> None:
    manifest = json.loads((line / "adapter/manifest.json").read_text())
    results = manifest["results"]
    assert results["validation_loss"] < results["validation_loss_before"] / 2
    kept = {"adapter_config.json", "adapter_model.safetensors", "log.json", "loss.png", "prompt.json"}
    assert set(manifest["files"]) == kept
    log = json.loads((line / "adapter/log.json").read_text())
    assert sum("eval_loss" in entry for entry in log) >= 2
    assert set(manifest["inputs"]) == {"base", "data"}


def test_the_line_is_really_four_bit(line: Path) -> None:
    tensors = load_file(line / "awq" / "model.safetensors")
    merged = load_file(line / "merged" / "model.safetensors")
    projections = {name.removesuffix(".weight") for name in merged if "_proj" in name}
    assert {name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")} == projections
    for module in projections:
        rows, columns = merged[f"{module}.weight"].shape
        assert tensors[f"{module}.qweight"].dtype == torch.int32
        assert tensors[f"{module}.qweight"].shape == (columns, rows // 8)
