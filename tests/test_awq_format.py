"""The AWQ format read back: what AutoAWQ packs, `dequantize` unpacks."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from data.errors import StageError
from data.recipe import QuantizeSection
from merge.awq_format import dequantize, round_to_nearest
from merge.stages import refuse_lossy

GROUP = 32


def test_dequantize_undoes_autoawqs_packing(tmp_path: Path) -> None:
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
    state = {f"layer.{name}": tensor.contiguous() for name, tensor in packed.state_dict().items()}
    save_file(state | {"norm.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    plain = dequantize(tmp_path)
    assert set(plain) == {"layer.weight", "norm.weight"}
    # scales are stored in half precision
    torch.testing.assert_close(plain["layer.weight"], rounded, atol=2e-4, rtol=2e-3)


def test_round_to_nearest_stays_within_half_a_step() -> None:
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(0))
    rounded = round_to_nearest(weight, 64)
    groups = weight.reshape(-1, 64)
    step = (groups.amax(1) - groups.amin(1)) / 15
    error = (rounded - weight).abs().reshape(-1, 64).amax(1)
    assert (error <= step * 1.01).all()
    assert all(len(row.unique()) <= 16 for row in rounded.reshape(-1, 64))


def test_the_line_is_really_four_bit(line: Path) -> None:
    tensors = load_file(line / "awq" / "model.safetensors")
    merged = load_file(line / "merged" / "model.safetensors")
    projections = {name.removesuffix(".weight") for name in merged if "_proj" in name}
    assert {name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")} == projections
    for module in projections:
        rows, columns = merged[f"{module}.weight"].shape
        assert tensors[f"{module}.qweight"].dtype == torch.int32
        assert tensors[f"{module}.qweight"].shape == (columns, rows // 8)


@pytest.mark.parametrize(
    ("awq", "rounded", "ratio", "reason"), [(0.5, 0.4, 1.0, "round-to-nearest"), (0.5, 0.5, 1.2, "1.2-fold")]
)
def test_a_lossy_checkpoint_is_refused(awq: float, rounded: float, ratio: float, reason: str) -> None:
    with pytest.raises(StageError, match=reason):
        refuse_lossy({"loss_awq": awq, "loss_round_to_nearest": rounded, "loss_ratio": ratio}, QuantizeSection())
