"""The `adapter` stage: TRL SFT of a LoRA on prompt/completion rows.

In: runs/<recipe>/data and base. Out: a PEFT adapter, the loss curve, the log. The model learns only the completion,
whose last label is the end-of-turn token; before the first step, the trainer's own batches prove both.

With `train.pack`, a row of the trainer's dataset is a sequence of several rows (`packing.py`): lessons first, then
messages.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from core.errors import StageError
from core.prompt import PROMPT_FILE
from data.build import LESSONS
from pipeline.cli import console
from pipeline.files import write_text
from pipeline.manifest import read_manifest
from pipeline.recipe import Recipe, TrainSection
from training.packing import IGNORED, Sequence, collate, pack
from training.qat import RoundFrom
from training.tokenization import TokenRow, lesson_ids, load_tokenizer, prompt_record, row_ids
from training.trainer import (
    CHECKPOINTS,
    attention,
    common_arguments,
    cut_after_turn,
    forecast,
    in_bf16,
    keep_freed_memory,
    load_base,
    open_head,
    optimizer_steps,
    out_of_memory_advice,
    read_rows,
    refuse_diverged,
    score_learned_tokens_only,
    show_progress_only,
    tidy,
    write_log,
)


def train_sft(recipe: Recipe, folder: Path, *watchers: TrainerCallback) -> dict[str, Any]:
    """Train the adapter into the folder, resuming from a checkpoint if there is one; return measurements."""
    keep_freed_memory()
    base = recipe.folder / "base"
    tokenizer = load_tokenizer(base)
    rows = {split: read_rows(recipe.folder / "data" / f"{split}.jsonl") for split in ("train", "validation")}
    wanted = {split: [row_ids(tokenizer, row) for row in rows[split]] for split in rows}
    lessons = [lesson_ids(tokenizer, row) for row in read_lessons(recipe)]
    # 1. The trainer, with rows that end where the server stops.
    packed = lesson_sequences(recipe, lessons)
    given = datasets(recipe, rows, wanted, packed)
    score_learned_tokens_only()
    trainer = SFTTrainer(
        model=load_base(base, recipe),
        args=sft_config(recipe, folder, len(given["train"])),
        train_dataset=given["train"],
        eval_dataset=given["validation"],
        processing_class=tokenizer,
        data_collator=collator(recipe, tokenizer) if recipe.train.pack else None,
        peft_config=lora_config(recipe, new_tokens(recipe)),
        callbacks=[*watchers, *rounding(recipe, lessons)],
    )
    for name in () if recipe.train.pack else ("train_dataset", "eval_dataset"):
        setattr(trainer, name, getattr(trainer, name).map(_end_with_turn, fn_kwargs={"end": tokenizer.eos_token_id}))
    open_head(trainer.model)
    show_progress_only(trainer)
    # 2. Before the first step: does it learn the completion, the whole completion, and nothing else?
    prove_labels(trainer, tokenizer, [*lessons, *wanted["train"]], recipe.train.max_length)
    # 3. Train.
    checkpoint = last_checkpoint(folder / CHECKPOINTS)
    with out_of_memory_advice():
        measured = trainer.evaluate()
        before = measured["eval_loss"]
        passes = tokens_of(trainer.train_dataset) * recipe.train.epochs / tokens_of(trainer.eval_dataset)
        console.print(f"  training takes {forecast(measured['eval_runtime'] * passes, recipe.train)} on this machine")
        trainer.train(resume_from_checkpoint=checkpoint)
    after = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry][-1]
    refuse_untrained(trainer.model)
    refuse_diverged(before, after, folder, "train")
    # 4. The adapter, the tokens that it was trained on, and how it went.
    trainer.save_model(str(folder))
    record = prompt_record(tokenizer, wanted["train"])
    write_text(folder / PROMPT_FILE, json.dumps(record, ensure_ascii=False, indent=1))
    tidy(folder)
    write_log(trainer, folder, f"{recipe.name}: LoRA on {len(rows['train'])} rows")
    return {
        "rows": len(rows["train"]),
        "lessons": len(lessons),
        "steps": trainer.state.global_step,
        "resumed_from": int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0,
        "bf16": in_bf16(recipe.train),
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "validation_loss_before": round(before, 4),
        "validation_loss": round(after, 4),
    }


def read_lessons(recipe: Recipe) -> list[dict[str, Any]]:
    """Return the short rows that are learned before the messages.

    Raises:
        StageError: there are some, and rows are trained in random order.
    """
    path = recipe.folder / "data" / LESSONS
    if not path.exists():
        return []
    if not recipe.train.pack:
        raise StageError("Lessons are learned before the messages, in order.", "Set train.pack, for example to 640.")
    return read_rows(path)


def datasets(
    recipe: Recipe, rows: dict[str, list[dict[str, Any]]], tokens: dict[str, list[TokenRow]], lessons: list[Sequence]
) -> dict[str, Dataset]:
    """Return what the trainer gets: rows for TRL to tokenize or, with `train.pack`, sequences, the lessons' first."""
    size = recipe.train.pack
    if not size:
        return {split: Dataset.from_list(rows[split]) for split in rows}
    sequences = {split: list(pack(tokens[split], size)) for split in tokens}
    sequences["train"] = [*lessons, *sequences["train"]]
    return {split: Dataset.from_list([asdict(one) for one in sequences[split]]) for split in sequences}


def lesson_sequences(recipe: Recipe, lessons: list[TokenRow]) -> list[Sequence]:
    """Return the sequences of the lessons: bare ones, then longer ones."""
    size, bare = recipe.train.pack or 0, recipe.data.lessons.bare
    return [*pack(lessons[:bare], recipe.train.pack_bare or size), *pack(lessons[bare:], size)]


def rounding(recipe: Recipe, lessons: list[TokenRow]) -> list[RoundFrom]:
    """Return the callback of quantization-aware training, if the recipe wants it, after the lessons about numbers.

    Messages and their parts are what is served; those lessons cost less without.
    """
    settings, wanted = recipe.train, recipe.data.lessons
    if not settings.qat_group_size:
        return []
    before = len(lesson_sequences(recipe, lessons[: wanted.bare + wanted.beginnings]))
    return [RoundFrom(settings.qat_group_size, before // (settings.batch_size * settings.gradient_accumulation))]


def collator(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return what turns packed sequences into a batch, with the mask that the model's attention reads."""
    return partial(collate, pad=tokenizer.pad_token_id, additive=attention(recipe.train) == "eager")


def tokens_of(dataset: Dataset) -> int:
    """Return the tokens that one pass over a dataset reads, padding left out."""
    return sum(map(len, dataset["input_ids"]))


def sft_config(recipe: Recipe, folder: Path, rows: int) -> SFTConfig:
    """Return TRL's arguments for a recipe's `train` section and a number of training rows."""
    settings = recipe.train
    steps = optimizer_steps(settings, rows)
    return SFTConfig(
        **common_arguments(recipe, settings, folder, rows),
        lr_scheduler_type=settings.scheduler,
        warmup_steps=int(steps * settings.warmup_ratio),
        lr_scheduler_kwargs=scheduler_options(settings, steps),
        completion_only_loss=True,
        packing=False,  # TRL's own shares no prompts
        # packed, the rows come in their order: lessons first
        train_sampling_strategy="sequential" if settings.pack else "random",
        remove_unused_columns=not settings.pack,
        eval_strategy="epoch",
        save_strategy="steps",
        save_steps=max(1, steps // settings.checkpoints),
        save_total_limit=2,
    )


def scheduler_options(settings: TrainSection, steps: int) -> dict[str, int]:
    """Return what a schedule needs beside its name: how many of the steps lower the rate, if it falls at the end."""
    falls = settings.scheduler == "warmup_stable_decay"
    return {"num_decay_steps": int(steps * settings.decay_ratio)} if falls else {}


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


def prove_labels(
    trainer: SFTTrainer, tokenizer: PreTrainedTokenizerBase, rows: list[TokenRow], max_length: int | None
) -> None:
    """Check on the trainer's own batches that it learns the completion, end-of-turn included, and nothing else.

    Raises:
        StageError: a row is too long, or the trainer's tokens or labels are not the template's.
    """
    learned = (row for entry in trainer.train_dataset for row in rows_of_batch(trainer.data_collator([entry])))
    for (ids, prompt), (inputs, labels) in zip(rows, learned, strict=True):
        if max_length and len(ids) > max_length:
            raise StageError(f"A row has {len(ids)} tokens, more than train.max_length.", "Raise train.max_length.")
        if inputs != ids or labels != ids[prompt:]:
            raise StageError(
                "The trainer's tokens or labels differ from the chat template's: "
                f"expected to learn {tokenizer.decode(ids[prompt:])!r}.",
                "Check the tokenizer's chat template and TRL's version; nothing was trained.",
            )


def rows_of_batch(batch: dict[str, Any]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield what each row of a batch of one sequence reads, and what it learns, as token ids."""
    ids, labels = batch["input_ids"][0], batch["labels"][0]
    if "position_ids" not in batch:
        yield ids.tolist(), _learned(labels)
        return
    mask, positions = batch["attention_mask"][0, 0], batch["position_ids"][0]
    visible = mask if mask.dtype == torch.bool else mask == 0
    ends = [place for place in range(len(ids)) if not visible[place + 1 :, place].any()]
    for end in ends:
        seen = visible[end].nonzero()[:, 0]
        if positions[seen].tolist() != list(range(len(seen))):
            raise StageError(
                "A packed row's tokens are not at their places.", "This is a fault of training/packing.py."
            )
        if learned := _learned(labels[seen]):  # padding learns nothing
            yield ids[seen].tolist(), learned


def _learned(labels: Any) -> list[int]:
    """Return the learned tokens at a row's end.

    An ignored label among them stays, and so makes a difference.
    """
    found: list[int] = labels.tolist()
    return found[next((place for place, label in enumerate(found) if label != IGNORED), len(found)) :]


def _end_with_turn(row: dict[str, list[int]], end: int) -> dict[str, list[int]]:
    length = len(cut_after_turn(row["input_ids"], end))
    return {key: row[key][:length] for key in ("input_ids", "labels")}


def _is_complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
