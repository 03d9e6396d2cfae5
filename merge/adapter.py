"""Read a PEFT LoRA adapter from disk as weight deltas, without PEFT; reject features that a fold cannot express."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from core.errors import ArtefactError
from training.checkpoint import read_header, weight_files

TRAIN = "Make it with `make train`."
TOKENS = re.compile(r"base_model\.model\.(?P<module>.+)\.token_adapter\.trainable_tokens_delta")
KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
# Settings that say where an adapter comes from, or what this module reads itself: they do not change what is folded.
NEUTRAL = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "inference_mode", "lora_alpha", "lora_dropout", "megatron_core",
        "peft_type", "peft_version", "qalora_group_size", "r", "revision", "target_modules", "task_type",
        "trainable_token_indices",
    }
)  # fmt: skip
# Of all others only those that are off can be folded: with any of them on, known or not, PEFT may compute something
# else than W + (alpha/r)·B·A. Some say so by a word.
OFF = {"bias": ("none",), "init_lora_weights": (True, False, "gaussian")}


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


def read_adapter(folder: Path, base: Path) -> Adapter:
    """Read an adapter and check that it is whole: a plain LoRA of every module that its config names in this base.

    Args:
        folder: the adapter.
        base: the checkpoint that it was trained on, in Llama layout.

    Raises:
        ArtefactError: a file is missing, the adapter is not a plain LoRA, covers less or more than its config says, or
            holds numbers that are not finite.
    """
    config, tensors = _read(folder)
    _refuse_unknown_settings(folder, config)
    sides: dict[str, dict[str, torch.Tensor]] = {}
    rows: dict[str, tuple[list[int], torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ArtefactError(
                f"The adapter in {folder} has numbers in {key} that are not finite.",
                "Train again with a lower train.learning_rate.",
            )
        if match := TOKENS.fullmatch(key):
            module = match["module"]
            ids = (config.get("trainable_token_indices") or {}).get(module.removeprefix("model."), [])
            rows[f"{module}.weight"] = (ids, tensor)
        elif match := KEY.fullmatch(key):
            sides.setdefault(f"{match['module']}.weight", {})[match["side"]] = tensor
        else:
            raise ArtefactError(f"The adapter in {folder} has an unknown tensor {key}.", "Train a plain LoRA.")
    if any(set(pair) != {"A", "B"} for pair in sides.values()):
        raise ArtefactError(f"The adapter in {folder} lacks one half of a factor pair.", TRAIN)
    adapter = Adapter(
        {name: (pair["A"], pair["B"]) for name, pair in sides.items()}, config["lora_alpha"] / config["r"], rows
    )
    _refuse_partial(folder, config, adapter, base)
    return adapter


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtefactError(f"The adapter in {folder} cannot be read: {error}.", TRAIN) from error
    numbers = isinstance(config, dict) and [config.get("r"), config.get("lora_alpha")]
    if not numbers or not all(isinstance(number, int | float) and number > 0 for number in numbers):
        raise ArtefactError(f"The config of the adapter in {folder} has no rank or no alpha.", TRAIN)
    return config, tensors


def _refuse_unknown_settings(folder: Path, config: dict[str, Any]) -> None:
    unknown = [key for key, value in config.items() if key not in NEUTRAL and value and value not in OFF.get(key, ())]
    if config.get("peft_type") != "LORA":
        unknown.append("peft_type")
    if unknown:
        raise ArtefactError(
            f"The adapter in {folder} uses {', '.join(sorted(unknown))}, which a fold cannot express.",
            "Train a plain LoRA.",
        )


def _refuse_partial(folder: Path, config: dict[str, Any], adapter: Adapter, base: Path) -> None:
    """Refuse an adapter that does not change exactly the weights that its config names."""
    modules = {name.removesuffix(".weight") for path in weight_files(base) for name in read_header(base / path)[0]}
    expected = {f"{module}.weight" for module in modules if _is_target(module, config.get("target_modules"))}
    tokens = config.get("trainable_token_indices") or {}
    token_modules = {module if module == "lm_head" else f"model.{module}" for module in tokens}
    wanted_rows = {f"{module}.weight" for module in token_modules & modules}  # a tied head is not stored
    for what, wanted, found in (("factors", expected, set(adapter.factors)), ("rows", wanted_rows, set(adapter.rows))):
        if missing := sorted(wanted - found):
            raise ArtefactError(
                f"The adapter in {folder} covers {len(wanted) - len(missing)} of {len(wanted)} weights that its config "
                f"names; it has no {what} for {missing[0]}.",
                TRAIN,
            )
        if strange := sorted(found - wanted):
            raise ArtefactError(
                f"The adapter in {folder} changes {strange[0]}, which its config or its base does not name.",
                "Train on this base.",
            )
    if not expected:
        raise ArtefactError(f"The adapter in {folder} changes no weight of the base.", TRAIN)
    for name, (a, b) in adapter.factors.items():
        if not a.shape[0] == b.shape[1] == config["r"]:
            raise ArtefactError(f"The adapter's factors of {name} do not have its config's rank {config['r']}.", TRAIN)
    for name, (ids, rows) in adapter.rows.items():
        if len(ids) != len(rows):
            raise ArtefactError(f"The adapter has {len(rows)} rows of {name} for {len(ids)} tokens.", TRAIN)


def _is_target(module: str, targets: Any) -> bool:
    """Return whether PEFT would put a LoRA on a module: a list names ends, a text is a regular expression."""
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is not None
    return any(module == target or module.endswith(f".{target}") for target in targets or ())


def _same_shape(name: str, weight: torch.Tensor, change: torch.Tensor) -> None:
    if weight.shape != change.shape:
        raise ArtefactError(
            f"{name}: base {tuple(weight.shape)}, adapter {tuple(change.shape)}.", "Train on this base."
        )
