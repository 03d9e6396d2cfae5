"""The model card: a checkpoint's README.md, written from the manifests of everything that it was made from."""

import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from core.prompt import PROMPT_FILE
from pipeline.files import write_text
from pipeline.manifest import Manifest
from pipeline.recipe import Recipe

ORDER = ("data", "base", "adapter", "dpo", "merged", "awq")
KIND = {"merged": "16 bit, LoRA folded in", "awq": "4-bit AWQ"}
# The stages' measurements, with their names in the card.
MEASURED = {
    "validation_loss_before": "validation loss before training",
    "validation_loss": "validation loss after training",
    "reward_accuracy": "share of held-out preference pairs ranked correctly after DPO",
    "loss_as_trained": "held-out loss, NF4 base + adapter (as trained)",
    "loss_fold_16bit": "held-out loss, folded into the 16-bit base",
    "loss_fold_nf4": "held-out loss, folded into the base as NF4 left it",
    "loss_base_adapter": "held-out loss, base + adapter",
    "loss_merged": "held-out loss, merged",
    "max_logprob_difference": "largest difference of a log-probability, merged against base + adapter",
    "same_top_token": "share of tokens with the same first choice",
    "loss_round_to_nearest": "held-out loss, plain 4-bit rounding",
    "loss_awq": "held-out loss, AWQ",
    "loss_ratio": "held-out loss, AWQ / merged",
    "bytes_merged": "bytes of weights, merged",
    "bytes_awq": "bytes of weights, AWQ",
}


def write_card(folder: Path, stage: str, recipe: Recipe, before: list[Manifest], results: dict[str, Any]) -> None:
    """Write the card of a checkpoint that is about to be published.

    Args:
        folder: the checkpoint, complete except for its card and its manifest.
        stage: `merged` or `awq`.
        recipe: the run.
        before: manifests of the artefacts it was made from; they carry the manifests of earlier ones.
        results: the stage's measurements.
    """
    from huggingface_hub import ModelCardData

    chain = {link.stage: link for manifest in before for link in (*manifest.ancestors.values(), manifest)}
    prompt = json.loads((folder / PROMPT_FILE).read_text(encoding="utf-8"))
    origin = [[name, chain[name].id[:16], _settings(chain[name].settings)] for name in ORDER if name in chain]
    numbers = {key: value for name in chain for key, value in chain[name].results.items()} | results
    measured = [[text, f"{numbers[key]:,}"] for key, text in MEASURED.items() if key in numbers]
    front = ModelCardData(
        language="ko", pipeline_tag="text-generation", base_model=recipe.base.path.name, tags=["signboard", KIND[stage]]
    )
    text = f"""---
{front.to_yaml()}
---
# Signboard · {recipe.name} · {KIND[stage]}

Writes one short Korean message for a park's LED signboard from yesterday's and today's temperature.
어제와 오늘의 기온으로 공원 전광판에 표출할 짧은 문구를 씁니다.

**Base**: `{recipe.base.path.name}`, whose licence applies. **Made by** `python -m merge all`; versions and hashes of
every step are in `manifest.json`, and `python -m serve` checks them before it starts.

## How to ask it

The template, the end-of-turn token and the sampling defaults (temperature {recipe.generation.temperature}, top_p
{recipe.generation.top_p}) are part of this checkpoint, so a bare chat call is enough. The prompt it was trained on,
which a server announces as `{prompt["fingerprint"]}` (`{PROMPT_FILE}` has its {len(prompt["token_ids"])} token ids):

```json
{json.dumps(prompt["messages"], ensure_ascii=False, indent=1)}
```

The model was not trained on any other prompt. Check every message with `core/checks.py` before a board shows it.

## Provenance

{tabulate(origin, ["artefact", "id", "settings"], tablefmt="github", disable_numparse=True)}

## Measured

Losses are nats per token of the message, on the {recipe.name} run's held-out rows; the stages record all figures.

{tabulate(measured, ["what", "value"], tablefmt="github", disable_numparse=True)}
"""
    write_text(folder / "README.md", text)


def _settings(settings: dict[str, Any]) -> str:
    """Return settings on one line, nested ones dotted."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
    return ", ".join(f"{key} {' '.join(map(str, v)) if isinstance(v, list) else v}" for key, v in flat.items())
