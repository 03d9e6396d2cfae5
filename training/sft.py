"""The `adapter` stage: TRL SFT of a LoRA on prompt/completion rows.

In: runs/<recipe>/data and base. Out: a PEFT adapter, the loss curve, the log. Only the completion is learned, its last
label is the end-of-turn token: both are proven on the trainer's own batches before the first step.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedTokenizerBase, ProgressCallback
from trl import SFTConfig, SFTTrainer

from data.artefact import read_manifest, write_text
from data.errors import StageError
from data.prompt import PROMPT_FILE
from data.recipe import Recipe
from training.plot import draw_loss
from training.tokens import load_tokenizer, prompt_record, row_ids

CHECKPOINTS = "checkpoints"
KEPT = ("adapter_config.json", "adapter_model.safetensors", PROMPT_FILE)


def fit(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train into the folder, going on from a checkpoint if one is there; return measurements."""
    tokenizer = load_tokenizer(recipe.run / "base")
    rows = load_dataset(
        "json",
        data_files={split: str(recipe.run / "data" / f"{split}.jsonl") for split in ("train", "validation")},
        cache_dir=str(folder / "cache"),
    )
    trainer = SFTTrainer(
        model=load_base(recipe.run / "base", recipe),
        args=_arguments(recipe, folder, len(rows["train"])),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=tokenizer,
        peft_config=_lora(recipe, new_tokens(recipe)),
    )
    for name in ("train_dataset", "eval_dataset"):
        setattr(trainer, name, getattr(trainer, name).map(_end_with_turn, fn_kwargs={"end": tokenizer.eos_token_id}))
    open_head(trainer.model)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bar)
    prove_labels(trainer, tokenizer, rows["train"], recipe.train.max_length)
    checkpoint = last_checkpoint(folder / CHECKPOINTS)
    with out_of_memory_advice():
        before = trainer.evaluate()["eval_loss"]
        trainer.train(resume_from_checkpoint=checkpoint)
    refuse_untrained(trainer.model)
    trainer.save_model(str(folder))
    history = [without_times(entry) for entry in trainer.state.log_history]
    trained = [list(ids) for ids in trainer.train_dataset["input_ids"]]
    write_text(folder / PROMPT_FILE, json.dumps(prompt_record(tokenizer, trained), ensure_ascii=False, indent=1))
    tidy(folder)
    write_text(folder / "log.json", json.dumps(history, indent=1))
    draw_loss(history, folder / "loss.png", title=f"{recipe.name}: LoRA on {len(rows['train'])} rows")
    after = [entry["eval_loss"] for entry in history if "eval_loss" in entry][-1]
    return {
        "rows": len(rows["train"]),
        "steps": trainer.state.global_step,
        "resumed_from": int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0,
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "validation_loss_before": round(before, 4),
        "validation_loss": round(after, 4),
    }


def load_base(folder: Path, recipe: Recipe) -> Any:
    """Load the base model for training: NF4 if the recipe says so, else fp32 on CPU and bf16 on GPU."""
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=nf4 if recipe.train.load_in_4bit else None,
        device_map="auto" if torch.cuda.is_available() else None,
        local_files_only=True,
    )
    for module in model.modules():
        # On CPU, bitsandbytes repacks a weight for good the first time it is used in evaluation, and the packed kernel
        # has no backward: every gradient after the first evaluation would silently be zero.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def new_tokens(recipe: Recipe) -> list[int]:
    """Return the ids of the tokens that the import added to the base's vocabulary.

    Raises:
        StageError: there are some, and the recipe does not train them.
    """
    added: dict[str, int] = read_manifest(recipe.run / "base").results.get("new_tokens", {})
    if added and not recipe.train.lora.new_tokens:
        raise StageError(
            f"{' and '.join(added)} are new to this base, and a token whose embedding was never trained is never "
            "written: the model could not end its turn.",
            "Set train.lora.new_tokens: true, or base.chat_format: own.",
        )
    return sorted(added.values())


@contextmanager
def out_of_memory_advice() -> Iterator[None]:
    """Turn torch's out-of-memory errors, GPU and CPU, into one that says what to change."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator raises a plain one
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise StageError(
            "Training ran out of memory.",
            "Set train.batch_size=1 and train.gradient_accumulation=2, then train.gradient_checkpointing=true; "
            "on a GPU also train.load_in_4bit=true.",
        ) from error


def open_head(model: Any) -> None:
    """Give the head the bias that TRL's fused loss asks for: PEFT's wrapper for new tokens shows only the weight."""
    head = model.get_output_embeddings()
    if not hasattr(head, "bias"):
        head.bias = None


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest complete checkpoint; the trainer's state is written last, so it marks a complete one."""
    complete = [path for path in folder.glob("checkpoint-*") if _is_complete(path)]
    return str(max(complete, key=lambda path: int(path.name.split("-")[1]))) if complete else None


def refuse_untrained(model: Any) -> None:
    """Refuse an adapter that never got a gradient: LoRA's B begins at zero.

    Raises:
        StageError: every B is still zero.
    """
    if not any(p.detach().any() for name, p in model.named_parameters() if "lora_B" in name):
        raise StageError(
            "The adapter learned nothing: no gradient reached it.",
            "Check train.load_in_4bit and the versions installed.",
        )


class Bar(ProgressCallback):
    """The trainer's progress bar without a line of numbers every few steps: they are in log.json and loss.png."""

    def on_log(self, *_arguments: Any, **_options: Any) -> None:
        """Print nothing."""


def prove_labels(trainer: SFTTrainer, tokenizer: PreTrainedTokenizerBase, rows: Any, max_length: int) -> None:
    """Check on the trainer's own batches that it learns the completion, end-of-turn included, and nothing else.

    Raises:
        StageError: a row is too long, or TRL's tokens or labels are not the template's.
    """
    for row, prepared in zip(rows, trainer.train_dataset, strict=True):
        ids, prompt = row_ids(tokenizer, row)
        if len(ids) > max_length:
            raise StageError(f"A row has {len(ids)} tokens, more than train.max_length.", "Raise train.max_length.")
        batch = trainer.data_collator([prepared])
        inputs, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
        if inputs != ids or labels != [-100] * prompt + ids[prompt:]:
            raise StageError(
                "The trainer's tokens or labels differ from the chat template's: "
                f"expected to learn {tokenizer.decode(ids[prompt:])!r}.",
                "Check the tokenizer's chat template and TRL's version; nothing was trained.",
            )


def _end_with_turn(row: dict[str, list[int]], end: int) -> dict[str, list[int]]:
    """Cut what a template puts after the last end-of-turn token, such as a line break: the server stops before it."""
    length = len(row["input_ids"]) - row["input_ids"][::-1].index(end)
    return {key: row[key][:length] for key in ("input_ids", "labels")}


def _arguments(recipe: Recipe, folder: Path, rows: int) -> SFTConfig:
    settings = recipe.train
    steps = max(1, int(rows * settings.epochs / (settings.batch_size * settings.gradient_accumulation)))
    cuda = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(folder / CHECKPOINTS),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=int(steps * settings.warmup_ratio),
        max_length=settings.max_length,
        completion_only_loss=True,
        packing=False,
        gradient_checkpointing=settings.gradient_checkpointing,
        use_cpu=not cuda,
        bf16=cuda,
        eval_strategy="epoch",
        logging_steps=max(1, steps // 50),
        save_strategy="steps",
        save_steps=max(1, steps // settings.checkpoints),
        save_total_limit=2,
        seed=recipe.seed,
        data_seed=recipe.seed,
        report_to="none",
    )


def _lora(recipe: Recipe, tokens: list[int]) -> LoraConfig:
    lora = recipe.train.lora
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        bias="none",
        task_type="CAUSAL_LM",
        # in both places: what reads a token and what writes it (KORMo's are not tied)
        trainable_token_indices={"embed_tokens": tokens, "lm_head": tokens} if tokens else None,
    )


def without_times(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop wall-clock figures, so that the same seed gives the same artefact, id included."""
    return {key: value for key, value in entry.items() if not key.endswith(("_runtime", "_per_second", "_time"))}


def _is_complete(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def tidy(folder: Path, *also: str) -> None:
    """Keep the adapter and files named besides: the tokenizer is the base's, training_args.bin a pickle.

    PEFT writes its set of target modules in random order; sorted, the same seed gives the same file.
    """
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])
    write_text(folder / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True))
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (*KEPT, *also):
            path.unlink()
