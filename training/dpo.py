"""The `dpo` stage: TRL DPO on preference pairs, on top of the SFT adapter, which is also the reference.

Off by default: on the nano model it gained nothing and made more numbers wrong (docs/LOG.md). It exists for models that
keep habits after SFT which more rows do not cure.

In: runs/<recipe>/data, base and adapter. Out: one ordinary LoRA adapter in the SFT adapter's place, the pairs, the log.
Before the first step, a proof shows that the tokens are the template's, with nothing after the end of a turn.
"""

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer

from core.errors import StageError
from core.prompt import PROMPT_FILE
from data.preferences import Pair, own_pairs, pairs
from data.sets import Split, sets_of
from pipeline.files import write_text
from pipeline.recipe import Recipe
from training.qat import see_rounding
from training.tokenization import load_tokenizer, row_ids
from training.trainer import (
    common_arguments,
    cut_after_turn,
    keep_freed_memory,
    load_base,
    open_head,
    out_of_memory_advice,
    refuse_diverged,
    show_progress_only,
    tidy,
    write_log,
)

SIDES = ("chosen", "rejected")


def train_dpo(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train into the folder; return measurements, rewards in nats on pairs of held-out readings."""
    keep_freed_memory()
    base, adapter = recipe.folder / "base", recipe.folder / "adapter"
    tokenizer = load_tokenizer(base)
    chosen = preference_pairs(recipe)
    trainer = DPOTrainer(
        model=PeftModel.from_pretrained(load_base(base, recipe), str(adapter), is_trainable=True),
        args=dpo_config(recipe, folder, len(chosen["train"])),
        train_dataset=_dataset(chosen["train"]),
        eval_dataset=_dataset(chosen["validation"]),
        processing_class=tokenizer,
    )
    open_head(trainer.model)
    begin_as_reference(trainer.model)
    if recipe.train.qat_group_size:  # the reference rounds too: it is the model that is served
        see_rounding(trainer.model, recipe.train.qat_group_size)
    for name, wanted in (("train_dataset", chosen["train"]), ("eval_dataset", chosen["validation"])):
        cut = getattr(trainer, name).map(_end_with_turn, fn_kwargs={"end": tokenizer.eos_token_id})
        setattr(trainer, name, cut)
        prove_tokens(tokenizer, wanted, cut, recipe.dpo.max_length)
    show_progress_only(trainer)
    with out_of_memory_advice():
        before = trainer.evaluate()
        refuse_other_reference(before["eval_loss"])
        trainer.train()
        after = trainer.evaluate()
    refuse_unchanged(trainer.model)
    refuse_diverged(before["eval_loss"], after["eval_loss"], folder, "dpo")
    trainer.save_model(str(folder))
    lines = [json.dumps(pair.as_conversation(), ensure_ascii=False) for pair in chosen["train"]]
    write_text(folder / "preferences.jsonl", "".join(f"{line}\n" for line in lines))
    shutil.copyfile(adapter / PROMPT_FILE, folder / PROMPT_FILE)
    tidy(folder, "preferences.jsonl")
    write_log(trainer, folder, f"{recipe.name}: DPO on {len(chosen['train'])} pairs")
    return {
        "pairs": dict(Counter(pair.kind for pair in chosen["train"])),
        "steps": trainer.state.global_step,
        "dpo_loss_before": round(before["eval_loss"], 4),
        "dpo_loss": round(after["eval_loss"], 4),
        "reward_accuracy": round(after["eval_rewards/accuracies"], 4),
        "reward_margin": round(after["eval_rewards/margins"], 4),
    }


def preference_pairs(recipe: Recipe) -> dict[Split, list[Pair]]:
    """Return the pairs of the training rows and, for measurements, of the validation rows; own failures of both.

    Raises:
        StageError: there is none to learn from.
    """
    sets, failures = sets_of(recipe), recipe.dpo.failures
    found: dict[Split, list[Pair]] = {
        "train": pairs(sets["train"], recipe.dpo.pairs, recipe.seed),
        "validation": pairs(sets["validation"], 4 * len(sets["validation"]), recipe.seed + 1),
    }
    if failures:
        own = own_pairs(failures, recipe.seed, recipe.data.choices, recipe.serve.words)
        found = {split: found[split] + own[split] for split in found}
    if not found["train"]:
        raise StageError("There are no pairs to prefer by.", "Raise dpo.pairs, or set dpo.failures to wrong answers.")
    return found


def prove_tokens(tokenizer: PreTrainedTokenizerBase, wanted: list[Pair], prepared: Any, max_length: int | None) -> None:
    """Check that the trainer's tokens are the template's, up to and including the end of the turn.

    Raises:
        StageError: the tokens differ, or a pair is too long.
    """
    talks = [pair.as_conversation() for pair in wanted]
    expected = [
        {side: row_ids(tokenizer, {"prompt": talk["prompt"], "completion": talk[side]}) for side in SIDES}
        for talk in talks
    ]
    longest = max(len(ids) for sides in expected for ids, _ in sides.values())
    if max_length and longest > max_length:  # checked first: TRL drops a pair if only its prompt fits
        raise StageError(f"A pair has {longest} tokens, more than dpo.max_length.", "Raise dpo.max_length.")
    for sides, row in zip(expected, prepared, strict=True):
        for side, (ids, prompt) in sides.items():
            if (row["prompt_ids"], row[f"{side}_ids"]) != (ids[:prompt], ids[prompt:]):
                raise StageError(
                    f"The trainer's tokens of a {side} message differ from the chat template's.",
                    "Check the tokenizer's chat template and TRL's version; nothing was trained.",
                )


def begin_as_reference(model: Any) -> None:
    """Make TRL's frozen copy of the adapter, `ref`, equal to the adapter, both in fp32.

    TRL omits the rows of new tokens from the copy; and it rounds a QLoRA adapter to bf16, where steps as small as DPO's
    round to zero (58 % of the nano adapter's weights never moved).
    """
    for trained, reference in _twins(model):
        trained.data = trained.data.float()
        reference.data = trained.data.clone()


def refuse_other_reference(loss: float) -> None:
    """Reject any reference but the SFT adapter: if adapter and reference are equal, every pair's loss is ln 2.

    Raises:
        StageError: the loss before the first step is not ln 2.
    """
    if not abs(loss - math.log(2)) <= 0.001:  # a NaN is refused too
        raise StageError(
            f"DPO's loss begins at {loss:.4f} instead of ln 2: its reference is not the SFT adapter.",
            "Check the versions of TRL and PEFT; nothing was trained.",
        )


def refuse_unchanged(model: Any) -> None:
    """Reject an adapter that is still the SFT adapter.

    Raises:
        StageError: no parameter moved.
    """
    if all(torch.equal(trained, reference) for trained, reference in _twins(model)):
        raise StageError("DPO learned nothing: no gradient reached the adapter.", "Check dpo.* and the versions.")


def _twins(model: Any) -> list[tuple[Any, Any]]:
    """Pair each of the adapter's parameters with the reference's; rows of new tokens end in the adapter's name."""
    found = dict(model.named_parameters())
    return [(found[name], found[name.replace(".default", ".ref")]) for name in found if ".default" in name]


def _end_with_turn(row: dict[str, Any], end: int) -> dict[str, Any]:
    return {f"{side}_ids": cut_after_turn(row[f"{side}_ids"], end) for side in SIDES}


def _dataset(chosen: list[Pair]) -> Dataset:
    rows = [pair.as_conversation() for pair in chosen]
    return Dataset.from_list([{key: row[key] for key in ("prompt", *SIDES)} for row in rows])


def dpo_config(recipe: Recipe, folder: Path, pairs: int) -> DPOConfig:
    """Return TRL's arguments for a recipe's `dpo` section and a number of training pairs."""
    return DPOConfig(**common_arguments(recipe, recipe.dpo, folder, pairs), beta=recipe.dpo.beta, save_strategy="no")
