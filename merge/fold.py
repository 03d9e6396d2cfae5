"""Fold a LoRA into the 16-bit base: W + (alpha/r)·B·A in fp32, rounded once to the base's dtype.

Tensor by tensor through the safetensors files, so peak memory is a few copies of the largest weight, not the model.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from rich.progress import Progress

from core.errors import ArtefactError
from merge.adapter import Adapter
from merge.weights import nf4_round_trip
from training.checkpoint import read_header, weight_files, write_header
from training.qat import is_quantized, round_to_nearest

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def fold_checkpoint(
    base: Path, adapter: Adapter, target: Path, *, nf4: bool = False, qat_group: int | None = None
) -> dict[str, Any]:
    """Write base + adapter into the folder `target`; other files of the base are copied.

    Args:
        base: a checkpoint in Llama layout, 16 bit.
        adapter: the adapter to fold in.
        target: an empty folder.
        nf4: fold into the base as QLoRA saw it, its linear weights rounded to NF4 and back.
        qat_group: round the folded linear weights to 4 bits in such groups, as quantization-aware training saw them.

    Raises:
        ArtefactError: the adapter changes weights that the base lacks, or that have another shape there.
    """
    left = adapter.names
    shards = weight_files(base)
    with Progress() as progress:
        task = progress.add_task("fold", total=sum((base / shard).stat().st_size for shard in shards))
        for shard in shards:
            left -= _fold_shard(
                base / shard,
                adapter,
                target / shard,
                nf4=nf4,
                qat_group=qat_group,
                advance=lambda size: progress.advance(task, size),
            )
    if left:
        raise ArtefactError(f"The base has no {sorted(left)[0]}, which the adapter changes.", "Train on this base.")
    for path in base.iterdir():
        if path.name not in (*shards, "manifest.json"):
            shutil.copyfile(path, target / path.name)
    return {"folded_weights": len(adapter.names), "shards": len(shards)}


def _fold_shard(
    source: Path, adapter: Adapter, target: Path, *, nf4: bool, qat_group: int | None, advance: Callable[[int], None]
) -> set[str]:
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
            rounded = is_quantized(name) and (nf4 or qat_group)
            if rounded or name in adapter.names:
                weight = _read(reader, size, name, entry)
                seen = nf4_round_trip(weight) if rounded and nf4 else weight
                if rounded and qat_group:
                    exact = adapter.apply(name, seen, torch.float32)
                    folded = round_to_nearest(exact, qat_group).to(weight.dtype)
                else:
                    folded = adapter.apply(name, seen, weight.dtype)
                if not torch.isfinite(folded).all():
                    raise ArtefactError(
                        f"{name}: the fold gives numbers that are not finite.",
                        "Check the base, or train again with a lower train.learning_rate.",
                    )
                writer.write(memoryview(folded.view(torch.uint8).numpy().reshape(-1)))
            else:
                _copy(reader, writer, size)
            advance(size)
        writer.flush()
        os.fsync(writer.fileno())
    return {name for name, _ in entries} & adapter.names


def _read(reader: BinaryIO, size: int, name: str, entry: dict[str, Any]) -> torch.Tensor:
    if entry["dtype"] not in DTYPES:
        raise ArtefactError(f"{name} is stored as {entry['dtype']}.", "Fold into the unquantised 16-bit base.")
    return torch.frombuffer(bytearray(reader.read(size)), dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])


def _copy(reader: BinaryIO, writer: BinaryIO, size: int, block: int = 16 << 20) -> None:
    while size:
        piece = reader.read(min(size, block))
        writer.write(piece)
        size -= len(piece)
