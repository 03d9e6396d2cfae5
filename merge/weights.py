"""Sources of a model's weights, one tensor at a time: a checkpoint, a fold, a rounding.

`Weights` maps a tensor's Llama name to its values. Only requested tensors are in memory.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open

from core.errors import ArtefactError
from merge.adapter import Adapter
from merge.awq_format import unpacked
from training.checkpoint import read_header, weight_files
from training.qat import is_quantized, round_to_nearest

Weights = Callable[[str], torch.Tensor]
NF4_BLOCK = 64  # QLoRA's and bitsandbytes' default: weights that share a scale


class Checkpoint:
    """The tensors of a checkpoint on disk, as they are stored."""

    def __init__(self, folder: Path) -> None:
        files = [folder / name for name in weight_files(folder)]
        self._files = {name: path for path in files for name in read_header(path)[0]}

    def __call__(self, name: str) -> torch.Tensor:
        """Read a tensor.

        Raises:
            ArtefactError: the checkpoint has no tensor of this name.
        """
        if name not in self._files:
            raise ArtefactError(f"The checkpoint has no {name}.", "Copy the whole checkpoint again.")
        with safe_open(self._files[name], "pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
            return tensor


def through_nf4(weights: Weights) -> Weights:
    """Return the weights as QLoRA sees them: linear weights rounded to NF4 with double quantization, and back."""

    def get(name: str) -> torch.Tensor:
        weight = weights(name)
        return nf4_round_trip(weight) if is_quantized(name) else weight

    return get


def nf4_round_trip(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight after NF4 quantization, in fp32."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    packed, state = quantize_4bit(weight.float(), blocksize=NF4_BLOCK, compress_statistics=True, quant_type="nf4")
    return dequantize_4bit(packed, state)


def folded(weights: Weights, adapter: Adapter) -> Weights:
    """Return the weights with an adapter folded in, rounded once to 16 bit."""
    return lambda name: adapter.apply(name, weights(name))


def rounded_to_nearest(weights: Weights, group_size: int) -> Weights:
    """Return the weights as plain round-to-nearest quantization leaves them."""

    def get(name: str) -> torch.Tensor:
        weight = weights(name)
        return round_to_nearest(weight, group_size) if is_quantized(name) else weight

    return get


def awq_weights(folder: Path) -> Weights:
    """Return an AWQ checkpoint's weights, linear ones unpacked to fp32 (out, in)."""
    stored = Checkpoint(folder)

    def get(name: str) -> torch.Tensor:
        if not is_quantized(name):
            return stored(name)
        module = name.removesuffix("weight")
        return unpacked(stored(f"{module}qweight"), stored(f"{module}qzeros"), stored(f"{module}scales"))

    return get
