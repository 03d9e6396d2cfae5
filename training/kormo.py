"""Import a KORMo checkpoint to Llama layout, streaming and exact; and the way back, for the nano base.

KORMo is Llama with two norms named differently. Nothing is computed here: safetensors headers are rewritten and the
tensor bytes copied, so the logits are the same to the bit and memory does not depend on the model's size.
"""

import json
import os
import re
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.progress import track

from data.artefact import write_text
from data.errors import ArtefactError

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
CONFIG, INDEX, SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)


def import_checkpoint(source: Path, target: Path) -> dict[str, Any]:
    """Write `source` (KORMo or Llama layout) into the empty folder `target` in Llama layout; return what was read.

    Raises:
        ArtefactError: a file is missing, or a config key or tensor name is not known.
    """
    config = llama_config(read_json(source / CONFIG), source)
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
    return {"layout": read_json(source / CONFIG)["model_type"], "shards": len(shards)}


def llama_config(config: dict[str, Any], source: Path) -> dict[str, Any]:
    """Map a KORMo or Llama config key by key.

    Raises:
        ArtefactError: an unknown model type or key.
    """
    if config.get("model_type") not in ("kormo", "llama"):
        raise ArtefactError(
            f"{source / CONFIG}: model_type {config.get('model_type')!r} is neither kormo nor llama.",
            "Use a KORMo checkpoint, or one already in Llama layout.",
        )
    if unknown := sorted(set(config) - SHARED_KEYS - REPLACED_KEYS):
        raise ArtefactError(
            f"{source / CONFIG}: unknown keys {', '.join(unknown)}.",
            "Find out what they change, then teach training/kormo.py about them.",
        )
    shared = {key: value for key, value in config.items() if key in SHARED_KEYS}
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **shared}


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


def weight_files(folder: Path) -> list[str]:
    """Return the checkpoint's safetensors files in order.

    Raises:
        ArtefactError: there are none, or a shard is missing.
    """
    names = sorted(set(read_json(folder / INDEX)["weight_map"].values())) if (folder / INDEX).exists() else [SINGLE]
    for name in names:
        if Path(name).name != name:
            raise ArtefactError(f"{folder / INDEX} names the file {name}, outside its folder.", "Do not use it.")
        if not (folder / name).is_file():
            raise ArtefactError(f"{folder / name} is missing.", "Copy the whole checkpoint, all shards included.")
    return names


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return a safetensors file's header and the offset at which tensor bytes begin.

    Raises:
        ArtefactError: not a whole safetensors file.
    """
    broken = ArtefactError(f"{path} is not a complete safetensors file.", "Copy it again.")
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise broken
            header: dict[str, Any] = json.loads(file.read(length))
    except (struct.error, ValueError) as error:
        raise broken from error
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != path.stat().st_size:
        raise broken
    return header, 8 + length


def write_header(file: Any, header: dict[str, Any]) -> None:
    """Write a safetensors header, padded to eight bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)


def copy_renamed(source: Path, target: Path, rename: Any) -> None:
    """Copy a safetensors file, renaming its tensors; their bytes are copied as they are."""
    header, start = read_header(source)
    renamed = {name if name == "__metadata__" else rename(name): entry for name, entry in header.items()}
    if len(renamed) != len(header):
        raise ArtefactError(f"{source}: two tensors get the same name.", "The checkpoint mixes two layouts.")
    with source.open("rb") as reader, target.open("wb") as writer:
        reader.seek(start)
        write_header(writer, renamed)
        shutil.copyfileobj(reader, writer, 16 << 20)
        writer.flush()
        os.fsync(writer.fileno())


def copy_token_rows(folder: Path, rows: dict[int, int]) -> None:
    """Copy rows of the embedding and the head within a checkpoint: target id → source id."""
    for path in (folder / name for name in weight_files(folder)):
        header, start = read_header(path)
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            if name in header:
                begin, end = header[name]["data_offsets"]
                size = (end - begin) // header[name]["shape"][0]
                with path.open("r+b") as file:
                    for target, source in rows.items():
                        file.seek(start + begin + source * size)
                        row = file.read(size)
                        file.seek(start + begin + target * size)
                        file.write(row)


def read_json(path: Path) -> dict[str, Any]:
    """Read a checkpoint's JSON file.

    Raises:
        ArtefactError: missing or broken.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}.", "Check the recipe's base.path.") from error
    except ValueError as error:
        raise ArtefactError(f"{path} is not valid JSON.", "Copy the checkpoint again.") from error
    return content


def end_tokens(config: dict[str, Any]) -> list[int]:
    """Return the end-of-text ids that a config names: none, one or several."""
    ends = config.get("eos_token_id")
    if ends is None:
        return []
    return ends if isinstance(ends, list) else [ends]


def checkpoint_files(folder: Path) -> Iterable[Path]:
    """Yield the files of a base checkpoint that an import reads.

    Raises:
        ArtefactError: there is no checkpoint, or a shard is missing.
    """
    if not (folder / CONFIG).is_file():
        raise ArtefactError(f"There is no checkpoint in {folder}.", "Put it there, or set base.path in the recipe.")
    yield folder / CONFIG
    yield from (folder / name for name in weight_files(folder))
    yield from (folder / name for name in (INDEX, *TOKENIZER_FILES) if (folder / name).exists())
