"""The `adapter` stage: TRL SFT of a LoRA on prompt/completion rows.

In: runs/<recipe>/data and base. Out: a PEFT adapter, the loss curve, the log. The model learns only the completion,
whose last label is the end-of-turn token; before the first step, the trainer's own batches prove both.
"""

import json
from pathlib import Path
from typing import Any

from datasets import load_dataset
from peft import LoraConfig
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from core.errors import StageError
from core.prompt import PROMPT_FILE
from pipeline.cli import console
from pipeline.files import write_text
from pipeline.manifest import read_manifest
from pipeline.recipe import Recipe
from training.tokenization import load_tokenizer, prompt_record, row_ids
from training.trainer import (
    CHECKPOINTS,
    common_arguments,
    cut_after_turn,
    forecast,
    load_base,
    open_head,
    optimizer_steps,
    out_of_memory_advice,
    refuse_diverged,
    show_progress_only,
    tidy,
    write_log,
)

IGNORED = -100  # label of a token that is not learned


def train_sft(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train the adapter into the folder, resuming from a checkpoint if there is one; return measurements."""
    base = recipe.folder / "base"
    tokenizer = load_tokenizer(base)
    rows = load_dataset(
        "json",
        data_files={split: str(recipe.folder / "data" / f"{split}.jsonl") for split in ("train", "validation")},
        cache_dir=str(folder / "cache"),
    )
    # 1. The trainer, with rows that end where the server stops.
    trainer = SFTTrainer(
        model=load_base(base, recipe),
        args=sft_config(recipe, folder, len(rows["train"])),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=tokenizer,
        peft_config=lora_config(recipe, new_tokens(recipe)),
    )
    for name in ("train_dataset", "eval_dataset"):
        setattr(trainer, name, getattr(trainer, name).map(_end_with_turn, fn_kwargs={"end": tokenizer.eos_token_id}))
    open_head(trainer.model)
    show_progress_only(trainer)
    # 2. Before the first step: does it learn the completion, the whole completion, and nothing else?
    prove_labels(trainer, tokenizer, rows["train"], recipe.train.max_length)
    # 3. Train.
    checkpoint = last_checkpoint(folder / CHECKPOINTS)
    with out_of_memory_advice():
        measured = trainer.evaluate()
        before = measured["eval_loss"]
        passes = len(rows["train"]) * recipe.train.epochs / len(rows["validation"])
        console.print(f"  training takes {forecast(measured['eval_runtime'] * passes, recipe.train)} on this machine")
        trainer.train(resume_from_checkpoint=checkpoint)
    after = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry][-1]
    refuse_untrained(trainer.model)
    refuse_diverged(before, after, folder, "train")
    # 4. The adapter, the tokens that it was trained on, and how it went.
    trainer.save_model(str(folder))
    trained = [(list(row["input_ids"]), list(row["labels"]).count(IGNORED)) for row in trainer.train_dataset]
    write_text(folder / PROMPT_FILE, json.dumps(prompt_record(tokenizer, trained), ensure_ascii=False, indent=1))
    tidy(folder)
    write_log(trainer, folder, f"{recipe.name}: LoRA on {len(rows['train'])} rows")
    return {
        "rows": len(rows["train"]),
        "steps": trainer.state.global_step,
        "resumed_from": int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0,
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "validation_loss_before": round(before, 4),
        "validation_loss": round(after, 4),
    }


def sft_config(recipe: Recipe, folder: Path, rows: int) -> SFTConfig:
    """Return TRL's arguments for a recipe's `train` section and a number of training rows."""
    settings = recipe.train
    steps = optimizer_steps(settings, rows)
    return SFTConfig(
        **common_arguments(recipe, settings, folder, rows),
        lr_scheduler_type=settings.scheduler,
        warmup_steps=int(steps * settings.warmup_ratio),
        completion_only_loss=True,
        packing=False,
        eval_strategy="epoch",
        save_strategy="steps",
        save_steps=max(1, steps // settings.checkpoints),
        save_total_limit=2,
    )


def lora_config(recipe: Recipe, tokens: list[int]) -> LoraConfig:
    """Return PEFT's settings for a recipe's `train.lora` section; `tokens`: ids whose embeddings are trained too."""
    lora = recipe.train.lora
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        bias="none",
        task_type="CAUSAL_LM",
        # both embedding and head: KORMo's are not tied
        trainable_token_indices={"embed_tokens": tokens, "lm_head": tokens} if tokens else None,
    )


def new_tokens(recipe: Recipe) -> list[int]:
    """Return the ids of the tokens that the import added to the base's vocabulary.

    Raises:
        StageError: the import added tokens, and the recipe does not train them.
    """
    added: dict[str, int] = read_manifest(recipe.folder / "base").results.get("new_tokens", {})
    if added and not recipe.train.lora.new_tokens:
        raise StageError(
            f"{' and '.join(added)} are new to this base, and a token whose embedding was never trained is never "
            "written: the model could not end its turn.",
            "Set train.lora.new_tokens: true, or base.chat_format: own.",
        )
    return sorted(added.values())


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest complete checkpoint; the trainer's state is written last, so it marks a complete one."""
    complete = [path for path in folder.glob("checkpoint-*") if _is_complete(path)]
    return str(max(complete, key=lambda path: int(path.name.split("-")[1]))) if complete else None


def refuse_untrained(model: Any) -> None:
    """Reject an adapter that never got a gradient: LoRA's B starts at zero.

    Raises:
        StageError: every B is still zero.
    """
    if not any(p.detach().any() for name, p in model.named_parameters() if "lora_B" in name):
        raise StageError(
            "The adapter learned nothing: no gradient reached it.",
            "Check train.load_in_4bit and the versions installed.",
        )


def prove_labels(trainer: SFTTrainer, tokenizer: PreTrainedTokenizerBase, rows: Any, max_length: int | None) -> None:
    """Check on the trainer's own batches that it learns the completion, end-of-turn included, and nothing else.

    Raises:
        StageError: a row is too long, or TRL's tokens or labels are not the template's.
    """
    for row, prepared in zip(rows, trainer.train_dataset, strict=True):
        ids, prompt = row_ids(tokenizer, row)
        if max_length and len(ids) > max_length:
            raise StageError(f"A row has {len(ids)} tokens, more than train.max_length.", "Raise train.max_length.")
        batch = trainer.data_collator([prepared])
        inputs, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
        if inputs != ids or labels != [IGNORED] * prompt + ids[prompt:]:
            raise StageError(
                "The trainer's tokens or labels differ from the chat template's: "
                f"expected to learn {tokenizer.decode(ids[prompt:])!r}.",
                "Check the tokenizer's chat template and TRL's version; nothing was trained.",
            )


def _end_with_turn(row: dict[str, list[int]], end: int) -> dict[str, list[int]]:
    length = len(cut_after_turn(row["input_ids"], end))
    return {key: row[key][:length] for key in ("input_ids", "labels")}


def _is_complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
