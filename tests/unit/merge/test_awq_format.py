"""The AWQ format: `awq_weights` unpacks the weights that AutoAWQ packs."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import StageError
from merge.awq import usable
from merge.stages import refuse_lossy
from merge.weights import awq_weights
from pipeline.recipe import QuantizeSection
from training.qat import round_to_nearest

GROUP = 32


def test_unpacking_undoes_autoawqs_packing(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True):
        from awq.modules.linear.gemm import WQLinear_GEMM
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 96, bias=False)
    weight = linear.weight.data.clone()
    groups = weight.reshape(-1, GROUP)
    scale = ((groups.amax(1) - groups.amin(1)) / 15).reshape(96, -1)
    zero = (-groups.amin(1) / scale.reshape(-1)).round().clamp(0, 15).reshape(96, -1)
    rounded = round_to_nearest(weight, GROUP)
    linear.weight.data = rounded.clone()
    packed = WQLinear_GEMM.from_linear(linear, 4, GROUP, scales=scale.T.contiguous(), zeros=zero.T.contiguous())
    state = {f"up_proj.{name}": tensor.contiguous() for name, tensor in packed.state_dict().items()}
    save_file(state | {"norm.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    weights = awq_weights(tmp_path)
    assert torch.equal(weights("norm.weight"), torch.ones(3))
    # scales are stored in half precision
    torch.testing.assert_close(weights("up_proj.weight"), rounded, atol=2e-4, rtol=2e-3)


def test_round_to_nearest_stays_within_half_a_step() -> None:
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(0))
    rounded = round_to_nearest(weight, 64)
    groups = weight.reshape(-1, 64)
    step = (groups.amax(1) - groups.amin(1)) / 15
    error = (rounded - weight).abs().reshape(-1, 64).amax(1)
    assert (error <= step * 1.01).all()
    assert all(len(row.unique()) <= 16 for row in rounded.reshape(-1, 64))


@pytest.mark.parametrize(
    ("awq", "rounded", "ratio", "reason"),
    [
        (0.5, 0.4, 1.0, "round-to-nearest"),
        (0.5, 0.5, 1.2, "1.2-fold"),
        (float("nan"), 0.5, 1.0, "round-to-nearest"),
        (0.5, float("nan"), 1.0, "round-to-nearest"),
        (0.5, 0.5, float("nan"), "nan-fold"),
    ],
)
def test_a_lossy_checkpoint_is_rejected(awq: float, rounded: float, ratio: float, reason: str) -> None:
    with pytest.raises(StageError, match=reason):
        refuse_lossy({"loss_awq": awq, "loss_round_to_nearest": rounded, "loss_ratio": ratio}, QuantizeSection())


def test_calibration_rows_longer_than_a_block_are_left_out_and_too_few_are_rejected() -> None:
    rows = [[1] * 10, [2] * 17, [3] * 16]
    assert usable(rows, 16) == [rows[0], rows[2]]
    with pytest.raises(StageError, match="1 of 2 calibration rows fit"):
        usable(rows[:2], 16)
