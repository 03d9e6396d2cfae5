"""The quantization backend behind one small function: AutoAWQ, calibrated on our own rows in the serving template.

AutoAWQ packs the calibration rows into blocks itself when it gets token ids; rows are shorter than a block.
"""

import json
import math
import sys
import warnings
from pathlib import Path

from core.errors import StageError
from pipeline.recipe import QuantizeSection
from training.checkpoint import read_header, weight_files
from training.qat import is_quantized
from training.tokenization import load_tokenizer, row_ids

GROUPS = (128, 64, 32)  # input channels that share a scale, the cheapest first
BLOCK, BLOCK_STEP = 256, 64  # tokens of a calibration block, unless a row is longer


def calibration_rows(jsonl: Path, checkpoint: Path, count: int) -> list[list[int]]:
    """Return token ids of training rows, evenly picked, rendered as the server renders them."""
    tokenizer = load_tokenizer(checkpoint)
    rows = [json.loads(line) for line in jsonl.read_text(encoding="utf-8").splitlines()]
    step = max(1, len(rows) // count)
    return [row_ids(tokenizer, row)[0] for row in rows[::step][:count]]


def fitting_group(merged: Path, wanted: int | None) -> int:
    """Return how many input channels share a scale: what is wanted, or the largest group that divides every matrix.

    Raises:
        StageError: the group that is wanted, or the smallest, does not divide a matrix.
    """
    widths = {
        name: entry["shape"][1]
        for path in weight_files(merged)
        for name, entry in read_header(merged / path)[0].items()
        if is_quantized(name)
    }
    dividing = [size for size in GROUPS if not any(width % size for width in widths.values())]
    if wanted in dividing or (wanted is None and dividing):
        return wanted or dividing[0]
    size = wanted or min(GROUPS)
    name, width = next((name, width) for name, width in widths.items() if width % size)
    raise StageError(
        f"{name} has {width} inputs, which groups of {size} do not divide.",
        f"Set quantize.group_size to {dividing[0]}." if dividing else "AWQ cannot quantize this base.",
    )


def block_length(calibration: list[list[int]]) -> int:
    """Return the tokens of a calibration block that holds every row."""
    longest = max(map(len, calibration), default=0)
    return max(BLOCK, math.ceil(longest / BLOCK_STEP) * BLOCK_STEP)


def usable(calibration: list[list[int]], length: int) -> list[list[int]]:
    """Return the rows that fit one block of `length` tokens: the backend drops longer ones without a word.

    Raises:
        StageError: what is left does not fill one block.
    """
    rows = [row for row in calibration if len(row) <= length]
    if sum(map(len, rows)) < length:
        raise StageError(
            f"{len(rows)} of {len(calibration)} calibration rows fit a block of {length} tokens; they do not fill one.",
            "Raise quantize.calibration_length or quantize.calibration_rows.",
        )
    return rows


def calibration_blocks(text: Path, checkpoint: Path, count: int, size: int) -> list[list[int]]:
    """Return the token ids of any text in blocks: a comparison for calibrating on the training rows."""
    ids = load_tokenizer(checkpoint)(text.read_text(encoding="utf-8"))["input_ids"]
    return [ids[start : start + size] for start in range(0, len(ids), size)][:count]


def quantize(merged: Path, calibration: list[list[int]], target: Path, settings: QuantizeSection) -> None:
    """Quantize a 16-bit checkpoint to AWQ into the folder `target`.

    Raises:
        StageError: the backend's output is not the requested AWQ.
    """
    _run_autoawq(merged, calibration, target, settings)
    written = json.loads((target / "config.json").read_text(encoding="utf-8")).get("quantization_config", {})
    expected = {
        "quant_method": "awq",
        "bits": settings.bits,
        "group_size": settings.group_size,
        "zero_point": settings.zero_point,
    }
    if any(written.get(key) != value for key, value in expected.items()):
        raise StageError(f"The backend wrote {written}, not {expected}.", "Pin the versions in requirements/.")


def _run_autoawq(merged: Path, calibration: list[list[int]], target: Path, settings: QuantizeSection) -> None:
    # Recorded, not shown: AutoAWQ is deprecated upstream and warns at every import, whatever the filters.
    with warnings.catch_warnings(record=True):
        from awq import AutoAWQForCausalLM
    tokenizer = load_tokenizer(merged)
    model = AutoAWQForCausalLM.from_pretrained(str(merged), device_map="cpu", safetensors=True, local_files_only=True)
    model.quantize(
        tokenizer,
        quant_config={
            "w_bit": settings.bits,
            "q_group_size": settings.group_size,
            "zero_point": settings.zero_point,
            "version": "GEMM",
        },
        calib_data=calibration,
        duo_scaling=settings.duo_scaling,
        apply_clip=settings.clip,
        max_calib_samples=len(calibration),
        max_calib_seq_len=settings.calibration_length,
    )
    model.save_quantized(str(target), safetensors=True)
    print(file=sys.stderr)
