"""Every key of the recipe's train and dpo sections arrives where it is meant for: TRL, PEFT, the loader, the stage."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from pydantic import BaseModel
from trl import DPOConfig, SFTConfig

from core.errors import StageError
from core.problem import Words
from data.sets import handwritten
from pipeline.recipe import DpoSection, LoraSection, Recipe, TrainSection
from pipeline.stage import run_stage
from tests.support.tiny import tiny_llama
from training.dpo import dpo_config, preference_pairs
from training.sft import last_checkpoint, lora_config, new_tokens, sft_config
from training.stages import own_failures
from training.trainer import load_base

WRONG = {
    "season": None,
    "elements": None,
    "yesterday": 10,
    "today": 20,
    "text": "어제보다 9도 올라 화창합니다. 벤치에서 여유를 즐기세요.",
}
ODD = "어제보다 10도 올라 포근합니다. 걸음을 사뿐사뿐 옮겨 보세요."  # a word that the catalogue lacks
# No value is its key's default, and no two numbers are the same: a mixed-up key shows, too.
LORA = LoraSection(rank=8, alpha=24, dropout=0.125, target_modules=("k_proj", "o_proj"), new_tokens=True)
TRAIN = TrainSection(
    epochs=3,
    batch_size=4,
    gradient_accumulation=5,
    learning_rate=7e-4,
    scheduler="warmup_stable_decay",
    warmup_ratio=0.25,
    decay_ratio=0.2,
    max_length=123,
    pack=640,
    pack_bare=96,
    bf16=True,
    load_in_4bit=True,
    qat_group_size=32,
    gradient_checkpointing=True,
    checkpoints=6,
    lora=LORA,
)
DPO = DpoSection(
    enabled=True,
    pairs=13,
    failures=Path("answers.jsonl"),
    beta=0.375,
    epochs=2,
    batch_size=9,
    gradient_accumulation=7,
    learning_rate=9e-6,
    max_length=321,
)
RECIPE = Recipe(name="other", seed=23, train=TRAIN.model_copy(update={"qat_group_size": None}), dpo=DPO)
ROWS, PAIRS = 400, 630  # 400 rows · 3 epochs / (4 · 5) are 60 steps; 630 pairs · 2 epochs / (9 · 7) are 20
TOKENS = {"<|im_start|>": 100, "<|im_end|>": 101}


@dataclass(frozen=True)
class Arrived:
    """What the recipe's keys became."""

    sft: SFTConfig
    lora: LoraConfig
    dpo: DPOConfig


@pytest.fixture(scope="module")
def arrived() -> Arrived:
    folder = Path("unused")
    return Arrived(
        sft_config(RECIPE, folder, ROWS),
        lora_config(RECIPE, sorted(TOKENS.values())),
        dpo_config(RECIPE, folder, PAIRS),
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Key → what TRL or PEFT got of it, and what it must be.
ARGUMENTS: dict[str, tuple[Callable[[Arrived], object], object]] = {
    "train.epochs": (lambda found: found.sft.num_train_epochs, 3),
    "train.batch_size": (
        lambda found: (found.sft.per_device_train_batch_size, found.sft.per_device_eval_batch_size),
        (4, 4),
    ),
    "train.gradient_accumulation": (lambda found: found.sft.gradient_accumulation_steps, 5),
    "train.learning_rate": (lambda found: found.sft.learning_rate, 7e-4),
    "train.scheduler": (lambda found: found.sft.lr_scheduler_type.value, "warmup_stable_decay"),
    "train.decay_ratio": (lambda found: found.sft.lr_scheduler_kwargs, {"num_decay_steps": 12}),  # of 60
    "train.warmup_ratio": (lambda found: found.sft.warmup_steps, 15),  # of 60
    "train.max_length": (lambda found: found.sft.max_length, 123),
    "train.pack": (
        lambda found: (found.sft.train_sampling_strategy, found.sft.remove_unused_columns),
        ("sequential", False),
    ),
    "train.bf16": (lambda found: (found.sft.bf16, found.dpo.bf16), (True, True)),
    "train.gradient_checkpointing": (
        lambda found: (found.sft.gradient_checkpointing, found.dpo.gradient_checkpointing),
        (True, True),
    ),
    "train.checkpoints": (lambda found: found.sft.save_steps, 10),  # 60 steps / 6
    "train.lora.rank": (lambda found: found.lora.r, 8),
    "train.lora.alpha": (lambda found: found.lora.lora_alpha, 24),
    "train.lora.dropout": (lambda found: found.lora.lora_dropout, 0.125),
    "train.lora.target_modules": (lambda found: set(found.lora.target_modules), {"k_proj", "o_proj"}),
    "dpo.beta": (lambda found: found.dpo.beta, 0.375),
    "dpo.epochs": (lambda found: found.dpo.num_train_epochs, 2),
    "dpo.batch_size": (
        lambda found: (found.dpo.per_device_train_batch_size, found.dpo.per_device_eval_batch_size),
        (9, 9),
    ),
    "dpo.gradient_accumulation": (lambda found: found.dpo.gradient_accumulation_steps, 7),
    "dpo.learning_rate": (lambda found: found.dpo.learning_rate, 9e-6),
    "dpo.max_length": (lambda found: found.dpo.max_length, 321),
    "seed": (
        lambda found: (found.sft.seed, found.sft.data_seed, found.dpo.seed, found.dpo.data_seed),
        (23, 23, 23, 23),
    ),
}
# Keys that neither TRL nor PEFT gets; each has a test below, or in tests/service/test_sft.py.
ELSEWHERE = {
    "train.load_in_4bit",
    "train.pack_bare",
    "train.qat_group_size",
    "train.lora.new_tokens",
    "dpo.enabled",
    "dpo.pairs",
    "dpo.failures",
}


def keys(section: BaseModel, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield a section's keys, dotted, each with its value and its default; those of a section in it, too."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, field.default


def test_no_training_key_is_left_out_and_none_has_its_default_value() -> None:
    found = [*keys(TRAIN, "train."), *keys(DPO, "dpo.")]
    assert {key for key, _, _ in found} | {"seed"} == ARGUMENTS.keys() | ELSEWHERE
    assert [key for key, value, default in found if value == default] == []
    assert Recipe.model_fields["seed"].default != RECIPE.seed


@pytest.mark.parametrize("key", ARGUMENTS)
def test_every_training_key_arrives_in_sft_config_lora_config_or_dpo_config(key: str, arrived: Arrived) -> None:
    read, wanted = ARGUMENTS[key]
    assert read(arrived) == wanted


def test_load_in_4bit_loads_the_base_in_four_bits(folder: Path) -> None:
    tiny_llama().save_pretrained(folder / "base")
    kinds = [
        type(load_base(folder / "base", recipe).model.layers[0].mlp.up_proj).__name__
        for recipe in (RECIPE, Recipe(name="plain"))
    ]
    assert kinds == ["Linear4bit", "Linear"]


@pytest.mark.usefixtures("folder")
def test_new_tokens_are_trained_where_the_recipe_says_so_and_rejected_where_not() -> None:
    run_stage(
        RECIPE.folder / "base", format=1, recipe="other", settings={}, inputs={}, build=lambda _: {"new_tokens": TOKENS}
    )
    assert new_tokens(RECIPE) == [100, 101]
    assert lora_config(RECIPE, [100, 101]).trainable_token_indices == {
        "embed_tokens": [100, 101],
        "lm_head": [100, 101],
    }
    with pytest.raises(StageError, match=r"train\.lora\.new_tokens"):
        new_tokens(Recipe(name="other"))


def test_dpo_takes_so_many_pairs_the_own_failures_and_the_folds_place(folder: Path) -> None:
    (folder / "answers.jsonl").write_text(json.dumps(WRONG) + "\n", encoding="utf-8")
    kinds = [pair.kind for pair in preference_pairs(RECIPE)["train"]]
    assert (len(kinds), kinds.count("own")) == (13 + 1, 1)
    assert own_failures(RECIPE) == {"failures": Path("answers.jsonl")}
    (folder / "answers.jsonl").write_text(json.dumps(WRONG | {"text": ODD}) + "\n", encoding="utf-8")
    assert "own" in {pair.kind for pair in preference_pairs(RECIPE)["train"]}, "the recipe rejects odd words"
    shown = RECIPE.model_copy(update={"serve": RECIPE.serve.model_copy(update={"words": Words.OPEN})})
    assert "own" not in {pair.kind for pair in preference_pairs(shown)["train"]}
    none = shown.model_copy(update={"dpo": DPO.model_copy(update={"pairs": 0})})
    with pytest.raises(StageError, match="no pairs"):
        preference_pairs(none)
    assert [recipe.adapter.name for recipe in (RECIPE, Recipe(name="plain"))] == ["dpo", "adapter"]


def test_dpo_is_measured_on_pairs_of_held_out_readings(folder: Path) -> None:
    (folder / "answers.jsonl").write_text("", encoding="utf-8")
    validation = {row.reading for row in handwritten()["validation"]}
    found = preference_pairs(RECIPE)
    assert {pair.reading for pair in found["validation"]} <= validation
    assert {pair.reading for pair in found["train"]} & validation == set()
    assert len(found["validation"]) == 4 * len(validation)


def test_training_resumes_from_the_newest_complete_checkpoint(folder: Path) -> None:
    assert last_checkpoint(folder) is None
    for step, state in ((9, "{}"), (10, "{}"), (100, "{"), (11, None)):
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir()
        if state is not None:
            (checkpoint / "trainer_state.json").write_text(state)
    assert last_checkpoint(folder) == str(folder / "checkpoint-10"), "9 comes after 10 by name; 11 and 100 are cut off"
