"""Import a KORMo checkpoint to Llama layout, streaming and exact; and export it, for the nano base.

KORMo is Llama with two norms named differently. Nothing is computed here: tensors are renamed and their bytes copied,
so the logits are identical to the bit.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from rich.progress import track

from core.errors import ArtefactError
from pipeline.files import write_text
from training.checkpoint import CONFIG, INDEX, TOKENIZER_FILES, copy_renamed, read_json, weight_files

NORMS = {"pre_attention_layernorm": "input_layernorm", "pre_mlp_layernorm": "post_attention_layernorm"}
TENSOR = re.compile(
    r"model\.embed_tokens\.weight|model\.norm\.weight|lm_head\.weight"
    r"|model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj"
    r"|input_layernorm|post_attention_layernorm)\.weight"
)
SHARED_KEYS = {
    "attention_bias", "attention_dropout", "bos_token_id", "dtype", "eos_token_id", "head_dim", "hidden_act",
    "hidden_size", "initializer_range", "intermediate_size", "max_position_embeddings", "mlp_bias",
    "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "pad_token_id", "pretraining_tp",
    "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta", "tie_word_embeddings", "torch_dtype",
    "transformers_version", "use_cache", "vocab_size",
}  # fmt: skip
REPLACED_KEYS = {"architectures", "auto_map", "model_type"}
# Libraries write them beside the model's own keys; they change neither a weight nor what is computed from it.
HARMLESS = {
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal", "_commit_hash",
    "_model_name_or_path", "_name_or_path", "_unsloth_version", "tokenizer_class", "unk_token_id", "unsloth_fixed",
    "unsloth_version",
}  # fmt: skip


def import_checkpoint(source: Path, target: Path) -> dict[str, Any]:
    """Write `source` (KORMo or Llama layout) into the empty folder `target` in Llama layout; return a summary.

    Raises:
        ArtefactError: a file is missing, or a config key or tensor name is not known.
    """
    config, dropped = llama_config(read_json(source / CONFIG), source)
    shards = weight_files(source)
    for shard in track(shards, "import", disable=len(shards) < 2):
        copy_renamed(source / shard, target / shard, to_llama)
    if (source / INDEX).exists():
        index = read_json(source / INDEX)
        index["weight_map"] = {to_llama(name): shard for name, shard in index["weight_map"].items()}
        write_text(target / INDEX, json.dumps(index, indent=2))
    write_text(target / CONFIG, json.dumps(config, indent=2))
    for name in TOKENIZER_FILES:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    return {"layout": read_json(source / CONFIG)["model_type"], "shards": len(shards), "dropped_keys": dropped}


def llama_config(config: dict[str, Any], source: Path) -> tuple[dict[str, Any], list[str]]:
    """Map a KORMo or Llama config key by key; return it, and the keys that were dropped because they change nothing.

    Raises:
        ArtefactError: an unknown model type or key.
    """
    if config.get("model_type") not in ("kormo", "llama"):
        raise ArtefactError(
            f"{source / CONFIG}: model_type {config.get('model_type')!r} is neither kormo nor llama.",
            "Use a KORMo checkpoint, or one already in Llama layout.",
        )
    dropped = sorted(key for key in set(config) - SHARED_KEYS - REPLACED_KEYS if key in HARMLESS or config[key] is None)
    if unknown := sorted(set(config) - SHARED_KEYS - REPLACED_KEYS - set(dropped)):
        raise ArtefactError(
            f"{source / CONFIG}: unknown keys {', '.join(unknown)}.",
            "Find out what they change. Remove from config.json those that change nothing; a base with others is not "
            "supported.",
        )
    shared = {key: value for key, value in config.items() if key in SHARED_KEYS}
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **shared}, dropped


def to_llama(name: str) -> str:
    """Return a tensor's Llama name.

    Raises:
        ArtefactError: the tensor belongs to neither layout.
    """
    for kormo, llama in NORMS.items():
        name = name.replace(f".{kormo}.", f".{llama}.")
    if not TENSOR.fullmatch(name):
        raise ArtefactError(f"Unknown tensor {name}.", "The checkpoint is not KORMo's; nothing was imported.")
    return name


def to_kormo(name: str) -> str:
    """Return a Llama tensor's KORMo name."""
    for kormo, llama in NORMS.items():
        name = name.replace(f".{llama}.", f".{kormo}.")
    return name
