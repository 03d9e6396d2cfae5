"""Read a PEFT LoRA adapter from disk as weight deltas, without PEFT; refuse what a plain fold cannot express."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from data.errors import ArtefactError

KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# Settings under which W + (alpha/r)·B·A would not be what PEFT computes.
UNSUPPORTED = (
    "alora_invocation_tokens",
    "alpha_pattern",
    "fan_in_fan_out",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_dora",
    "use_qalora",
    "use_rslora",
)


@dataclass(frozen=True)
class Adapter:
    """LoRA factors by weight name: A (r, in), B (out, r), fp32."""

    factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    scaling: float  # alpha / r

    def delta(self, name: str) -> torch.Tensor:
        """Return (alpha/r)·B·A of a weight, (out, in), fp32."""
        a, b = self.factors[name]
        return (b @ a) * self.scaling


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter.

    Raises:
        ArtefactError: a file is missing, the adapter is not a plain LoRA, or its factors do not pair up.
    """
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"The adapter in {folder} cannot be read: {error}.", "Make it with `make train`."
        ) from error
    if odd := [key for key in UNSUPPORTED if config.get(key)] or (config.get("bias", "none") != "none" and ["bias"]):
        raise ArtefactError(
            f"The adapter in {folder} uses {', '.join(odd)}, which a fold cannot express.", "Train a plain LoRA."
        )
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = KEY.fullmatch(key)
        if not match:
            raise ArtefactError(f"The adapter in {folder} has an unknown tensor {key}.", "Train a plain LoRA.")
        sides.setdefault(f"{match['module']}.weight", {})[match["side"]] = tensor
    if any(set(pair) != {"A", "B"} for pair in sides.values()):
        raise ArtefactError(f"The adapter in {folder} lacks one half of a factor pair.", "Make it with `make train`.")
    return Adapter({name: (pair["A"], pair["B"]) for name, pair in sides.items()}, config["lora_alpha"] / config["r"])
