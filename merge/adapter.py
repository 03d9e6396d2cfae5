"""Read a PEFT LoRA adapter from disk as weight deltas, without PEFT; reject features that a fold cannot express."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open

from core.errors import ArtefactError

TOKENS = re.compile(r"base_model\.model\.(?P<module>.+)\.token_adapter\.trainable_tokens_delta")
KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# Settings with which PEFT computes something other than W + (alpha/r)·B·A.
UNSUPPORTED = (
    "alora_invocation_tokens",
    "alpha_pattern",
    "fan_in_fan_out",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "use_dora",
    "use_qalora",
    "use_rslora",
)


@dataclass(frozen=True)
class Adapter:
    """An adapter's changes, by weight name.

    LoRA factors A (r, in) and B (out, r), fp32; and whole rows of the embedding and the head, for tokens that were
    added to the vocabulary.
    """

    factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    scaling: float  # alpha / r
    rows: dict[str, tuple[list[int], torch.Tensor]] = field(default_factory=dict)  # token ids, rows (ids, hidden)

    @property
    def names(self) -> set[str]:
        """The weights it changes."""
        return self.factors.keys() | self.rows.keys()

    def apply(self, name: str, weight: torch.Tensor, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        """Return a weight with its changes: W + (alpha/r)·B·A in fp32, rounded once to `dtype`.

        Raises:
            ArtefactError: the adapter's shapes do not match the weight's.
        """
        if name in self.rows:
            ids, rows = self.rows[name]
            _same_shape(name, weight[: len(ids)], rows)
            return weight.to(dtype).index_copy(0, torch.tensor(ids), rows.to(dtype))
        if name in self.factors:
            a, b = self.factors[name]
            delta = (b @ a) * self.scaling
            _same_shape(name, weight, delta)
            return delta.add_(weight).to(dtype)
        return weight.to(dtype)


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
    rows: dict[str, tuple[list[int], torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if match := TOKENS.fullmatch(key):
            module = match["module"]
            rows[f"{module}.weight"] = (config["trainable_token_indices"][module.removeprefix("model.")], tensor)
            continue
        match = KEY.fullmatch(key)
        if not match:
            raise ArtefactError(f"The adapter in {folder} has an unknown tensor {key}.", "Train a plain LoRA.")
        sides.setdefault(f"{match['module']}.weight", {})[match["side"]] = tensor
    if any(set(pair) != {"A", "B"} for pair in sides.values()):
        raise ArtefactError(f"The adapter in {folder} lacks one half of a factor pair.", "Make it with `make train`.")
    factors = {name: (pair["A"], pair["B"]) for name, pair in sides.items()}
    return Adapter(factors, config["lora_alpha"] / config["r"], rows)


def _same_shape(name: str, weight: torch.Tensor, change: torch.Tensor) -> None:
    if weight.shape != change.shape:
        raise ArtefactError(
            f"{name}: base {tuple(weight.shape)}, adapter {tuple(change.shape)}.", "Train on this base."
        )
