"""The quantization backend behind one small function: AutoAWQ, calibrated on our own rows in the serving template.

AutoAWQ packs the calibration rows into blocks itself when it gets token ids; rows are shorter than a block.
"""

import json
import sys
import warnings
from pathlib import Path

from core.errors import StageError
from pipeline.recipe import QuantizeSection
from training.tokenization import load_tokenizer, row_ids


def calibration_rows(jsonl: Path, checkpoint: Path, count: int) -> list[list[int]]:
    """Return token ids of training rows, evenly picked, rendered as the server renders them."""
    tokenizer = load_tokenizer(checkpoint)
    rows = [json.loads(line) for line in jsonl.read_text(encoding="utf-8").splitlines()]
    step = max(1, len(rows) // count)
    return [row_ids(tokenizer, row)[0] for row in rows[::step][:count]]


def usable(calibration: list[list[int]], settings: QuantizeSection) -> list[list[int]]:
    """Return the rows that fit one block: the backend drops longer ones without a word.

    Raises:
        StageError: what is left does not fill one block.
    """
    rows = [row for row in calibration if len(row) <= settings.calibration_length]
    if sum(map(len, rows)) < settings.calibration_length:
        raise StageError(
            f"{len(rows)} of {len(calibration)} calibration rows fit a block of {settings.calibration_length} tokens; "
            "they do not fill one.",
            "Raise quantize.calibration_length or quantize.calibration_rows.",
        )
    return rows


def calibration_blocks(text: Path, checkpoint: Path, settings: QuantizeSection) -> list[list[int]]:
    """Return the token ids of any text in blocks: a comparison for calibrating on the training rows."""
    ids = load_tokenizer(checkpoint)(text.read_text(encoding="utf-8"))["input_ids"]
    size = settings.calibration_length
    return [ids[start : start + size] for start in range(0, len(ids), size)][: settings.calibration_rows]


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
        max_calib_samples=len(calibration),
        max_calib_seq_len=settings.calibration_length,
    )
    model.save_quantized(str(target), safetensors=True)
    print(file=sys.stderr)
