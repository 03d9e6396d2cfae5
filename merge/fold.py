"""Fold a LoRA into the 16-bit base: W + (alpha/r)·B·A in fp32, rounded once to the base's dtype.

Tensor by tensor through the safetensors files, so peak memory is a few copies of the largest weight, not the model.
"""

import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import torch
from rich.progress import Progress

from data.errors import ArtefactError
from merge.adapter import Adapter
from training.kormo import read_header, weight_files, write_header

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def fold(base: Path, adapter: Adapter, target: Path) -> dict[str, Any]:
    """Write base + adapter into the folder `target`; other files of the base are copied.

    Raises:
        ArtefactError: the adapter has weights which the base lacks, or of another shape.
    """
    left = set(adapter.factors)
    shards = weight_files(base)
    with Progress() as progress:
        task = progress.add_task("fold", total=sum((base / shard).stat().st_size for shard in shards))
        for shard in shards:
            left -= _fold_shard(base / shard, adapter, target / shard, lambda size: progress.advance(task, size))
    if left:
        raise ArtefactError(f"The base has no {sorted(left)[0]}, which the adapter changes.", "Train on this base.")
    for path in base.iterdir():
        if path.name not in (*shards, "manifest.json"):
            shutil.copyfile(path, target / path.name)
    return {"folded_weights": len(adapter.factors), "shards": len(shards)}


def _fold_shard(source: Path, adapter: Adapter, target: Path, advance: Any) -> set[str]:
    header, start = read_header(source)
    entries = sorted(
        ((name, entry) for name, entry in header.items() if name != "__metadata__"),
        key=lambda item: item[1]["data_offsets"],
    )
    with source.open("rb") as reader, target.open("wb") as writer:
        reader.seek(start)
        write_header(writer, header)
        for name, entry in entries:
            size = entry["data_offsets"][1] - entry["data_offsets"][0]
            if name in adapter.factors:
                writer.write(_folded(reader, size, name, entry, adapter))
            else:
                _copy(reader, writer, size)
            advance(size)
        writer.flush()
        os.fsync(writer.fileno())
    return {name for name, _ in entries} & set(adapter.factors)


def _folded(reader: BinaryIO, size: int, name: str, entry: dict[str, Any], adapter: Adapter) -> memoryview:
    if entry["dtype"] not in DTYPES:
        raise ArtefactError(f"{name} is stored as {entry['dtype']}.", "Fold into the unquantised 16-bit base.")
    dtype = DTYPES[entry["dtype"]]
    weight = torch.frombuffer(bytearray(reader.read(size)), dtype=dtype).reshape(entry["shape"])
    delta = adapter.delta(name)
    if delta.shape != weight.shape:
        raise ArtefactError(f"{name}: base {tuple(weight.shape)}, adapter {tuple(delta.shape)}.", "Train on this base.")
    return memoryview(delta.add_(weight).to(dtype).view(torch.uint8).numpy().reshape(-1))


def _copy(reader: BinaryIO, writer: BinaryIO, size: int, block: int = 16 << 20) -> None:
    while size:
        piece = reader.read(min(size, block))
        writer.write(piece)
        size -= len(piece)
