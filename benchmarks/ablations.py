"""Ablations: change one setting at a time, serve the resulting 4-bit checkpoint and ask it for the whole grid.

Usage: python -m benchmarks.ablations NAME… [--recipe recipes/nano.yaml] [--rounds 1] [--every 1]
Names: temperature, repetition_penalty, rows, rank, targets, epochs, calibration, duo_scaling, clip, group_size; or all.
In: a finished run of the recipe. Out: runs/ablations/NAME.md and the table on the screen. Each value gets its own run,
runs/ablate-…, whose finished stages are skipped the next time. Not run by `make test`.
"""

import asyncio
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from tabulate import tabulate

from core.errors import StageError
from data.scenes import cases
from evaluation.ask import Case, ask_raw
from evaluation.report import build_line
from evaluation.scores import Answer, score
from evaluation.serving import served
from pipeline.cli import DEFAULT_RECIPE, console, run_app
from pipeline.graph import MADE_FROM
from pipeline.manifest import read_manifest
from pipeline.recipe import Recipe, load_recipe
from pipeline.stage import run_stage
from serve.launch import Variant

ROUND_TO_NEAREST = "round to nearest"
UNREFUSED = ("quantize.max_loss_ratio=100", "quantize.max_over_rounding=100")  # losses are measured, not rejected
COLUMNS = ("right", "fits_temperature", "passes", "distinct", "commonest_activity", "distinct_2", "elements")


# Label → overrides of the recipe. TRAINED needs a new training, QUANTIZED only a new quantization, SAMPLED neither.
TRAINED: dict[str, dict[str, list[str]]] = {
    "rows": {str(n): [f"data.rows={n}"] for n in (302, 1000, 3000)},
    "rank": {str(n): [f"train.lora.rank={n}", f"train.lora.alpha={n}"] for n in (8, 16, 32, 64)},
    "targets": {
        "q, v": [],
        "all linear layers": [
            "train.lora.target_modules=[q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]"
        ],
    },
    "epochs": {str(n): [f"train.epochs={n}"] for n in (1, 2, 5, 10)},
}
QUANTIZED: dict[str, dict[str, list[str]]] = {
    "calibration": {
        "own rows": [],
        "English text (LICENSE)": ["quantize.calibration_text=LICENSE"],
        ROUND_TO_NEAREST: [],
    },
    "duo_scaling": {value: [f"quantize.duo_scaling={value}"] for value in ("false", "true")},
    "clip": {value: [f"quantize.clip={value}"] for value in ("false", "true")},
    "group_size": {str(n): [f"quantize.group_size={n}"] for n in (32, 64, 128)},
}
SAMPLED: dict[str, list[Any]] = {
    "temperature": [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "repetition_penalty": [1.0, 1.1, 1.2],
}
NAMES = (*SAMPLED, *TRAINED, *QUANTIZED)


def main(
    names: Annotated[list[str], typer.Argument(help=f"{', '.join(NAMES)}; or all.")],
    recipe: Annotated[Path, typer.Option(help="The run to vary.")] = DEFAULT_RECIPE,
    rounds: Annotated[int, typer.Option(min=1, help="Passes over the grid, for each value.")] = 1,
    every: Annotated[int, typer.Option(min=1, help="Ask only every Nth reading.")] = 1,
) -> None:
    """Measure and print a table per setting."""
    chosen = NAMES if names == ["all"] else names
    if wrong := set(chosen) - set(NAMES):
        raise StageError(f"There is no ablation {', '.join(sorted(wrong))}.", f"Choose from {', '.join(NAMES)}.")
    asked, folder = list(cases(rounds, every)), Path("runs/ablations")
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        table = sampled(recipe, name, asked) if name in SAMPLED else varied(recipe, name, asked)
        (folder / f"{name}.md").write_text(table + "\n", encoding="utf-8")
        console.print(f"\n{name}\n")
        print(table)


def sampled(path: Path, name: str, asked: list[Case]) -> str:
    """Ask one server with each value of a sampling setting."""
    recipe = load_recipe(path)
    rows = []
    with served(recipe, Variant.AWQ) as server:
        for value in SAMPLED[name]:
            extra = {name: value} if name == "temperature" else {"extra_body": {name: value}}
            rows.append(_row(str(value), _ask(recipe, server.url, asked, **extra), {}))
    return _table(name, rows)


def varied(path: Path, name: str, asked: list[Case]) -> str:
    """Build, serve and ask a run for each value of a setting."""
    rows = []
    for label, overrides in (TRAINED | QUANTIZED)[name].items():
        slug = "".join(char if char.isalnum() else "-" for char in label.lower())
        changed = load_recipe(path, [f"name=ablate-{name.replace('_', '-')}-{slug}", *overrides, *UNREFUSED])
        variant = Variant.AWQ
        if name in TRAINED:
            build_line(changed)
        else:
            _borrow(load_recipe(path), changed)
            if label == ROUND_TO_NEAREST:
                _round_to_nearest(changed)
                variant = Variant.MERGED
            else:
                build_line(changed, ("awq",))
        with served(changed, variant) as server:
            rows.append(_row(label, _ask(changed, server.url, asked), _losses(changed, variant)))
    return _table(name, rows)


def _borrow(source: Recipe, changed: Recipe) -> None:
    """Copy every stage up to the merged checkpoint; only the later ones are varied."""
    for stage in ("data", "base", "adapter", "merged"):
        target = changed.folder / stage
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(source.folder / stage, target)


def _round_to_nearest(changed: Recipe) -> None:
    """Replace the merged weights by their 4-bit rounding, in bf16: what AWQ must beat."""
    import torch
    from safetensors.torch import load_file, save_file

    from merge.awq import fitting_group
    from training.qat import is_quantized, round_to_nearest

    merged = changed.folder / "merged"
    group = fitting_group(merged, changed.quantize.group_size)

    def fill(folder: Path) -> dict[str, Any]:
        shutil.copytree(merged, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        for path in folder.glob("*.safetensors"):
            tensors = load_file(path)
            for key in filter(is_quantized, tensors):
                rounded = round_to_nearest(tensors[key], group)
                tensors[key] = rounded.to(torch.bfloat16).contiguous()
            save_file(tensors, path, metadata={"format": "pt"})
        return {}

    inputs = {name: changed.folder / name for name in MADE_FROM["merged"]}
    run_stage(merged, recipe=changed.name, format=1, settings={"rounded": True}, inputs=inputs, build=fill, force=True)


def _ask(recipe: Recipe, url: str, asked: list[Case], **sampling: Any) -> list[Answer]:
    return asyncio.run(ask_raw(asked, url, recipe.serve.model_name, "none", **sampling))


def _losses(changed: Recipe, variant: Variant) -> dict[str, str]:
    """Return the held-out losses of a run, nats per token."""
    found = {"merged": read_manifest(changed.folder / "merged").results.get("loss_merged")}
    if variant is Variant.AWQ:
        results = read_manifest(changed.folder / "awq").results
        found |= {"merged": results["loss_merged"], "4 bit": results["loss_awq"]}
    return {f"loss, {key}": f"{value:.4f}" for key, value in found.items() if value is not None}


def _row(label: str, answers: list[Answer], losses: dict[str, str]) -> dict[str, str]:
    found = asdict(score(answers))
    shares = {key: f"{found[key]:d}" if isinstance(found[key], int) else f"{found[key]:.2%}" for key in COLUMNS}
    console.print(json.dumps({"value": label, **shares, **losses}, ensure_ascii=False))
    return {"value": label, **losses, **shares}


def _table(name: str, rows: list[dict[str, str]]) -> str:
    head = list(dict.fromkeys(key for row in rows for key in row))
    names = [name if key == "value" else key.replace("_", " ") for key in head]
    cells = [[row.get(key, "") for key in head] for row in rows]
    return tabulate(cells, names, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
