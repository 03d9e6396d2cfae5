"""The `merged` and `awq` stages: build, prove, publish only a checkpoint that passes.

Torch is imported only when there is something to do.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from core.errors import StageError
from core.prompt import PROMPT_FILE
from pipeline.budget import read_budget, sampling_defaults
from pipeline.cli import console
from pipeline.drafts import DRAFTS_FILE
from pipeline.files import write_text
from pipeline.graph import MADE_FROM
from pipeline.manifest import Manifest, read_manifest
from pipeline.recipe import Fold, GenerationSection, QuantizeSection, Recipe
from pipeline.stage import run_stage
from training.checkpoint import TOKENIZER_FILES, end_tokens, read_json

MERGED_FORMAT = 6  # see run_stage
AWQ_FORMAT = 7


def run_fold(recipe: Recipe, *, force: bool = False) -> tuple[Manifest, bool]:
    """Fold the adapter into the base; return the manifest and whether it is new."""
    run = recipe.folder

    def fill(folder: Path) -> dict[str, Any]:
        with console.status("loading torch and PEFT"):
            from merge.adapter import read_adapter
            from merge.card import write_card
            from merge.drafts import ship_drafts
            from merge.fold import fold_checkpoint
            from merge.proofs import HeldOut, compare_fold, losses_of_folds

        base, adapter = run / "base", recipe.adapter
        # 1. Fold: into the 16-bit base, or as QLoRA or quantization-aware training saw it.
        held_out = HeldOut.read(run / "data", base)
        losses = losses_of_folds(base, adapter, held_out) if recipe.train.load_in_4bit else {}
        way = choose_fold(recipe.merge.fold, losses)
        nf4, qat_group = way == "nf4", recipe.train.qat_group_size if way == "qat" else None
        found = fold_checkpoint(base, read_adapter(adapter, base), folder, nf4=nf4, qat_group=qat_group)
        # 2. Ship a bare call's defaults in the checkpoint, and prove that it reads rows as the tokens of training.
        ship_behaviour(folder, recipe.generation, read_budget(adapter).message)
        prove_prompt(adapter, run / "data", folder)
        found["drafted_messages"] = ship_drafts(recipe, run / "data" / "train.jsonl", folder)
        # 3. Publish only a fold that computes what base + adapter compute.
        proof = compare_fold(base, adapter, folder, held_out, nf4=nf4, qat_group=qat_group)
        if not proof["max_logprob_difference"] <= recipe.merge.max_logprob_difference:  # a NaN is refused too
            raise StageError(
                f"The merged model differs from base + adapter by {proof['max_logprob_difference']} nats.",
                "Check that the adapter was trained on this base; nothing was published.",
            )
        found |= {"fold": way} | losses | proof
        write_card(folder, "merged", recipe, [read_manifest(adapter)], found)
        return found

    return run_stage(
        run / "merged",
        format=MERGED_FORMAT,
        recipe=recipe.name,
        settings={**recipe.merge.model_dump(), "generation": recipe.generation.model_dump()},
        inputs={name: run / name for name in MADE_FROM["merged"]} | {recipe.adapter.name: recipe.adapter},
        build=fill,
        force=force,
    )


def run_quantize(recipe: Recipe, *, force: bool = False) -> tuple[Manifest, bool]:
    """Quantize the merged checkpoint to AWQ; return the manifest and whether it is new."""
    run, wanted = recipe.folder, recipe.quantize

    def fill(folder: Path) -> dict[str, Any]:
        with console.status("loading torch and AutoAWQ"):
            from merge.awq import (
                BLOCK,
                block_length,
                calibration_blocks,
                calibration_rows,
                fitting_group,
                quantize,
                usable,
            )
            from merge.card import write_card
            from merge.proofs import HeldOut, compare_awq

        # 1. Quantize, calibrated on training rows as the server renders them.
        if wanted.calibration_text:
            size = wanted.calibration_length or BLOCK
            rows = calibration_blocks(wanted.calibration_text, run / "merged", wanted.calibration_rows, size)
        else:
            rows = calibration_rows(run / "data" / "train.jsonl", run / "merged", wanted.calibration_rows)
        group = fitting_group(run / "merged", wanted.group_size)
        length = wanted.calibration_length or block_length(rows)
        settings = wanted.model_copy(update={"group_size": group, "calibration_length": length})
        rows = usable(rows, length)
        quantize(run / "merged", rows, folder, settings)
        # 2. Copy the merged checkpoint's behaviour, file by file.
        for name in (*TOKENIZER_FILES, DRAFTS_FILE):  # the backend rewrites or drops some of them
            if (run / "merged" / name).exists():
                shutil.copyfile(run / "merged" / name, folder / name)
        prove_prompt(run / "merged", run / "data", folder)
        # 3. Publish only a checkpoint that lost little, and no more than plain rounding loses.
        proof = compare_awq(run / "merged", folder, HeldOut.read(run / "data", folder), group)
        refuse_lossy(proof, settings)
        sizes = {f"bytes_{name}": weight_bytes(path) for name, path in (("merged", run / "merged"), ("awq", folder))}
        found = (
            {
                "group_size": settings.group_size,
                "calibration_rows": len(rows),
                "calibration_tokens": sum(map(len, rows)),
            }
            | proof
            | sizes
        )
        write_card(folder, "awq", recipe, [read_manifest(run / "merged")], found)
        return found

    return run_stage(
        run / "awq",
        format=AWQ_FORMAT,
        recipe=recipe.name,
        settings=wanted.model_dump(mode="json"),
        inputs={name: run / name for name in MADE_FROM["awq"]}
        | ({"calibration_text": wanted.calibration_text} if wanted.calibration_text else {}),
        build=fill,
        force=force,
    )


def choose_fold(wanted: Fold, losses: dict[str, float]) -> Fold:
    """Return the fold to use: the recipe's or, for a QLoRA adapter with `better`, the one with the lower loss."""
    if wanted != "better":
        return wanted
    return "nf4" if losses and losses["loss_fold_nf4"] < losses["loss_fold_16bit"] else "16bit"


def ship_behaviour(folder: Path, generation: GenerationSection, message: int) -> None:
    """Write a bare call's defaults into the checkpoint: sampling settings, and the tokens that end an answer.

    `message`: tokens that an answer may have, unless the recipe says.

    Every file gets the tokenizer's end-of-turn id; generation also stops at every other end token that the base's
    files name, such as its end of text.
    """
    from training.tokenization import load_tokenizer

    tokenizer = load_tokenizer(folder)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    config = read_json(folder / "config.json")
    defaults = folder / "generation_config.json"
    others = {*end_tokens(config), *(end_tokens(read_json(defaults)) if defaults.exists() else ())} - {end}
    write_text(folder / "config.json", json.dumps(config | {"eos_token_id": end, "pad_token_id": pad}, indent=2))
    ends = {"eos_token_id": [end, *sorted(others)] if others else end, "pad_token_id": pad}
    write_text(defaults, json.dumps({"do_sample": True, **sampling_defaults(generation, message), **ends}, indent=2))


def prove_prompt(trained: Path, data: Path, folder: Path) -> None:
    """Check that a checkpoint's tokenizer reads every training row as the tokens that TRL saw, and write the record.

    Raises:
        StageError: the tokens differ.
    """
    from training.tokenization import load_tokenizer, prompt_record, row_ids

    tokenizer = load_tokenizer(folder)
    rows = [row_ids(tokenizer, json.loads(line)) for line in (data / "train.jsonl").read_text("utf-8").splitlines()]
    if prompt_record(tokenizer, rows) != read_json(trained / PROMPT_FILE):
        raise StageError(
            "The checkpoint's tokenizer or chat template makes other tokens of the rows than the model was trained on.",
            "Train again with `python -m training sft --force`; nothing was published.",
        )
    shutil.copyfile(trained / PROMPT_FILE, folder / PROMPT_FILE)


def refuse_lossy(proof: dict[str, float], settings: QuantizeSection) -> None:
    """Reject a quantized checkpoint that lost quality.

    Raises:
        StageError: AWQ is worse than plain round-to-nearest, or raises the held-out loss too much.
    """
    # Written so that a NaN is refused too: no comparison with it is true.
    if not proof["loss_awq"] <= proof["loss_round_to_nearest"] * settings.max_over_rounding:
        raise StageError(
            f"AWQ (loss {proof['loss_awq']}) is worse than round-to-nearest ({proof['loss_round_to_nearest']}).",
            "Try quantize.clip=false, quantize.duo_scaling=false or more calibration rows; nothing was published.",
        )
    if not proof["loss_ratio"] <= settings.max_loss_ratio:
        raise StageError(
            f"AWQ raises the held-out loss {proof['loss_ratio']}-fold.", "Try a smaller quantize.group_size."
        )


def weight_bytes(folder: Path) -> int:
    """Return the size of a checkpoint's weight files."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
