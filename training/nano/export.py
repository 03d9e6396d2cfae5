"""Write the nano base: KORMo names and config keys, tokenizer with template, model card with measured numbers."""

import json
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tabulate import tabulate
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from core.errors import SignboardError
from pipeline.cli import console, show_table
from pipeline.files import write_text
from training.families import to_kormo
from training.nano.corpus import grid
from training.nano.pretrain import Plan, continue_from, pretrain
from training.nano.probe import probe
from training.nano.tokenizer import train_tokenizer
from training.tokenization import load_tokenizer


def make_base(target: Path, seed: int, steps: dict[str, int], start: Path | None = None) -> None:
    """Train the nano base into the folder `target`; replace an existing model only when training is done.

    Args:
        target: the checkpoint's folder.
        seed: of corpus, weights and order.
        steps: step counts of `Plan` that differ from its own.
        start: a checkpoint of this function to go on with, for the plan's last two phases only.
    """
    if target.exists() and not (target / "config.json").is_file():
        raise SignboardError(f"{target} exists and holds no model.", "Choose a new --target; it would be replaced.")
    plan = Plan(seed=seed, **(steps | {"terse_steps": 0, "mixed_steps": 0} if start else steps))
    tokenizer = load_tokenizer(start) if start else train_tokenizer(seed)
    begin = time.monotonic()
    model, losses = pretrain(tokenizer, plan, continue_from(start, tokenizer, seed) if start else None)
    seconds = time.monotonic() - begin
    model = model.to(torch.bfloat16)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_checkpoint(model, tokenizer, partial)
    measured = probe(model.float(), tokenizer, seed)  # the bf16 weights, computed in fp32
    write_text(partial / "README.md", card(model, plan, seconds, losses, measured))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    show_table("nano base, greedy, whole grid", probe_rows(measured))
    console.print(f"[green]{target}[/green] written after {seconds / 60:.1f} minutes of training")


def write_checkpoint(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a Llama model as a KORMo-layout checkpoint (bf16)."""
    tensors = {to_kormo(name): tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_text(folder / "config.json", json.dumps(kormo_config(model), indent=2) + "\n")
    for name in ("is_local", "local_files_only"):  # how it was loaded, if a training goes on: no property of it
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(folder)


def kormo_config(model: LlamaForCausalLM) -> dict[str, Any]:
    """Return the config with KORMo-10B's keys."""
    config = model.config
    return {
        "architectures": ["KORMoForCausalLM"],
        "model_type": "kormo",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "eos_token_id": config.eos_token_id,
        "head_dim": config.head_dim,
        "hidden_act": config.hidden_act,
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "mlp_bias": False,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "pad_token_id": config.pad_token_id,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_parameters["rope_theta"],
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def probe_rows(measured: dict[str, dict[str, float]]) -> list[list[str]]:
    """Return the probe as a table."""
    columns = ("right", "fits", "labels", "stopped")
    rows = [[kind, *(f"{shares[c]:.2%}" if c in shares else "" for c in columns)] for kind, shares in measured.items()]
    return [["format", *columns], *rows]


def command(plan: Plan) -> str:
    """Return the command of a training."""
    steps = {
        "terse": plan.terse_steps,
        "mixed": plan.mixed_steps,
        "park": plan.park_steps,
        "message": plan.message_steps,
    }
    start = "" if plan.terse_steps or plan.mixed_steps else " --start CHECKPOINT"
    counts = "".join(f" --{name}-steps {count}" for name, count in steps.items() if count)
    return f"python -m training base --seed {plan.seed}{start}{counts}"


def card(
    model: LlamaForCausalLM,
    plan: Plan,
    seconds: float,
    losses: list[float],
    measured: dict[str, dict[str, float]],
) -> str:
    """Return the model card."""
    table = tabulate(probe_rows(measured), headers="firstrow", tablefmt="github", disable_numparse=True)
    tail = losses[-100:]
    parameters = sum(p.numel() for p in model.parameters())
    return f"""---
language: ko
license: apache-2.0
---
# Signboard nano base

A language model of {parameters / 1e6:.2f} million parameters in KORMo layout (KORMo's tensor names and
config keys, ChatML turns as single tokens). It stands in for KORMo-10B where there is no GPU: the same code
trains, merges, quantizes and serves it. It knows nothing but temperatures and parks.

**What it saw.** Only text composed by `training/nano/corpus.py` from the catalogue in `core/words` and from
`training/nano/formats.toml`; all {len(grid())} usual pairs of temperatures, drawn at random, in every season, in random
parks and without either. Under the signboard prompt it saw long, labelled answers, as the original's base model
gives them; under other prompts, short ones. It never saw the signboard prompt answered by a bare message: that is what
fine-tuning teaches.

**How.** `{command(plan)}`:
{plan.terse_steps} steps on bare differences, {plan.mixed_steps} on the mixture, {plan.park_steps} on parks,
{plan.message_steps} on messages,
Muon and AdamW, fp32, three answers to a prompt; {seconds / 60:.1f} minutes on {torch.get_num_threads()} CPU threads;
torch {version("torch")}, transformers {version("transformers")}.
Mean loss of the last {len(tail)} steps: {sum(tail) / len(tail):.4f} nats/token.
Written {datetime.now(UTC):%Y-%m-%d}.

**Measured** on the written bf16 weights, greedy, one answer for each of the {len(grid())} pairs. `right`: number
and direction right in every clause; `fits`: passes every check of `core/checks.py`; `labels`: labels, markers
or commentary; `stopped`: ended by the end-of-turn token.

{table}

```json
{json.dumps(asdict(plan))}
```
"""
