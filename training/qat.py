"""Quantization-aware training: the adapter learns on matrices that are rounded to 4 bit, as they will be served.

In: a model with a LoRA on every matrix that is quantized. Out: the same model, whose matrices are base + LoRA, rounded
to the nearest of their group's 16 levels. The gradient passes the rounding as if it were not there (straight-through
estimator: Bengio, Léonard and Courville 2013).
"""

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch.nn.functional import linear
from transformers import TrainerCallback

from core.errors import StageError

BITS = 4


def is_quantized(name: str) -> bool:
    """Return whether 4-bit methods quantize a tensor: the layers' linear weights, not embeddings, norms or head."""
    return name.endswith("_proj.weight")


def round_to_nearest(weight: torch.Tensor, group_size: int) -> torch.Tensor:
    """Return a weight (out, in) after plain asymmetric 4-bit quantization, in groups along the input, fp32."""
    groups = weight.float().reshape(-1, group_size)
    low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
    levels = 2**BITS - 1
    scale = ((high - low) / levels).clamp(min=1e-5)
    zero = (-low / scale).round().clamp(0, levels)
    return (groups / scale).round_().add_(zero).clamp_(0, levels).sub_(zero).mul_(scale).reshape(weight.shape)


class RoundedFold(torch.autograd.Function):
    """base + scaling·B·A in fp32, rounded; its gradient is that of the fold without the rounding."""

    @staticmethod
    def forward(
        ctx: Any, base: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scaling: float, group_size: int
    ) -> torch.Tensor:
        """Return the rounded weight (out, in) in the base's type, of base (out, in), A (rank, in) and B (out, rank)."""
        ctx.save_for_backward(a, b)
        ctx.scaling = scaling
        with torch.autocast(base.device.type, enabled=False):
            folded = torch.addmm(base.float(), b.float(), a.float(), alpha=scaling)
        return round_to_nearest(folded, group_size).to(base.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of A and B."""
        a, b = ctx.saved_tensors
        of_a = b.to(gradient.dtype).T @ gradient
        of_b = gradient @ a.to(gradient.dtype).T
        return None, of_a.to(a.dtype) * ctx.scaling, of_b.to(b.dtype) * ctx.scaling, None, None


def see_rounding(model: torch.nn.Module, group_size: int) -> None:
    """Let every matrix with a LoRA compute base + LoRA, rounded.

    Args:
        model: with PEFT's LoRA.
        group_size: input channels that share a scale.

    Raises:
        StageError: a matrix that will be quantized has no plain LoRA, or groups of this size do not divide it.
    """
    for name, module in model.named_modules():
        if not is_quantized(f"{name}.weight"):
            continue
        if not isinstance(module, Linear):
            raise StageError(
                f"{name} is served in 4 bit, and training cannot round it: it has no plain LoRA.",
                "Name it in train.lora.target_modules, or set train.qat_group_size: null.",
            )
        if module.in_features % group_size:
            raise StageError(
                f"{name} has {module.in_features} input channels, which groups of {group_size} do not divide.",
                "Set train.qat_group_size and quantize.group_size to 32.",
            )
        module.forward = MethodType(_forward(group_size), module)


def _forward(group_size: int) -> Any:
    def forward(self: Linear, states: torch.Tensor) -> torch.Tensor:
        (name,) = self.active_adapters
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        base = self.get_base_layer()
        return linear(states, RoundedFold.apply(base.weight, a, b, self.scaling[name], group_size), base.bias)

    return forward


class RoundFrom(TrainerCallback):
    """Rounds from a step on: what is learned before, such as bare lessons, costs less without."""

    def __init__(self, group_size: int, step: int) -> None:
        self._group_size, self._step, self.rounds = group_size, step, False

    def on_step_begin(self, _args: Any, state: Any, _control: Any, **given: Any) -> None:
        """Let the model see the rounding, once, if it is time; a resumed training is past that step already."""
        if state.global_step >= self._step and not self.rounds:
            see_rounding(given["model"], self._group_size)
            self.rounds = True
