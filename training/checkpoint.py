"""A checkpoint's files: configs, safetensors headers and shards, read and copied without loading a model.

Safetensors headers are rewritten and tensor bytes copied as they are, so nothing is computed and memory does not depend
on the model's size.
"""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from core.errors import ArtefactError

CONFIG, INDEX, SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)


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


def write_header(file: BinaryIO, header: dict[str, Any]) -> None:
    """Write a safetensors header, padded to eight bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)


def copy_renamed(source: Path, target: Path, rename: Callable[[str], str]) -> None:
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
