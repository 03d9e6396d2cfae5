"""A run's artefacts up to the adapter, in seconds: a tiny base that has learned a few rows, and a random LoRA on it."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from core.prompt import PROMPT_FILE
from data.build import write_jsonl
from data.sets import SPLITS, sets_of
from pipeline.graph import MADE_FROM
from pipeline.recipe import DataSection, QuantizeSection, Recipe
from pipeline.stage import run_stage
from tests.conftest import ROOT
from training.tokenization import load_tokenizer, prompt_record, row_ids

NANO = ROOT / "training/base/nano"
STEPS, BATCH = 25, 10  # enough that a damaged model is a worse one
RECIPE = Recipe(
    name="tiny",
    data=DataSection(rows=30),
    # The thresholds let a random adapter pass.
    quantize=QuantizeSection(
        group_size=32, calibration_rows=9, calibration_length=256, max_over_rounding=10, max_loss_ratio=10
    ),
)


def build_tiny_line(recipe: Recipe = RECIPE) -> Recipe:
    """Build data, base and adapter of a recipe below the working directory."""
    for stage, build in (("data", _data), ("base", _base), ("adapter", _adapter)):
        run_stage(
            recipe.folder / stage,
            format=1,
            recipe=recipe.name,
            settings={},
            inputs={name: recipe.folder / name for name in MADE_FROM.get(stage, ())},
            build=lambda folder, build=build: build(recipe, folder),  # type: ignore[misc]
        )
    return recipe


def token_ids(recipe: Recipe, split: str, checkpoint: Path | None = None) -> list[tuple[list[int], int]]:
    """Return a split's rows as token ids of a checkpoint, the base if none is named, each with its prompt's length."""
    tokenizer = load_tokenizer(checkpoint or recipe.folder / "base")
    lines = (recipe.folder / "data" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [row_ids(tokenizer, json.loads(line)) for line in lines]


def _data(recipe: Recipe, folder: Path) -> dict[str, Any]:
    sets = sets_of(recipe)
    for split in SPLITS:
        write_jsonl(folder / f"{split}.jsonl", sets[split])
    return {}


def _base(recipe: Recipe, folder: Path) -> dict[str, Any]:
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(NANO / name, folder / name)
    tokenizer = load_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,  # AutoAWQ wants whole 64s
        head_dim=16,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    rows = [torch.tensor(ids) for ids, _ in token_ids(recipe, "train", folder)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(STEPS):
        batch = [rows[(step * BATCH + place) % len(rows)] for place in range(BATCH)]
        ids = pad_sequence(batch, batch_first=True, padding_value=-100)
        logits = model(ids.clamp(min=0)).logits[:, :-1]
        cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.to(torch.bfloat16).save_pretrained(folder)
    return {}


def _adapter(recipe: Recipe, folder: Path) -> dict[str, Any]:
    torch.manual_seed(1)
    base = recipe.folder / "base"
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero, before any training
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    record = prompt_record(load_tokenizer(base), token_ids(recipe, "train"))
    (folder / PROMPT_FILE).write_text(json.dumps(record), encoding="utf-8")
    return {}
