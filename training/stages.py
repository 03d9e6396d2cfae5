"""The `base`, `adapter` and `dpo` stages. Torch is imported only when there is something to do."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import RecipeError
from pipeline.cli import console
from pipeline.graph import MADE_FROM
from pipeline.manifest import Manifest
from pipeline.recipe import Recipe
from pipeline.stage import run_stage
from training.import_base import import_base, source_files

if TYPE_CHECKING:
    from transformers import TrainerCallback

BASE_FORMAT = 6  # see run_stage
ADAPTER_FORMAT = 7
DPO_FORMAT = 7


def run_import(recipe: Recipe, *, force: bool = False) -> tuple[Manifest, bool]:
    """Write the base model in the layout of its family; return the manifest and whether it is new."""
    source = recipe.base.path

    def fill(folder: Path) -> dict[str, Any]:
        from training.chat_template import configure_chat_template

        return import_base(source, folder) | configure_chat_template(folder, recipe.base.chat_format)

    return run_stage(
        recipe.folder / "base",
        format=BASE_FORMAT,
        recipe=recipe.name,
        settings={"chat_format": recipe.base.chat_format},
        inputs={path.name: path for path in source_files(source)},
        build=fill,
        force=force,
    )


def run_sft(
    recipe: Recipe, *watchers: "TrainerCallback", force: bool = False, resume: bool = False
) -> tuple[Manifest, bool]:
    """Train the adapter; return the manifest and whether it is new.

    Args:
        recipe: the run.
        watchers: for benchmarks that measure while it trains.
        force: train even if a matching adapter exists.
        resume: resume from the last checkpoint of a killed run with the same settings.
    """

    def fill(folder: Path) -> dict[str, Any]:
        with console.status("loading torch and TRL"):
            from training.sft import train_sft

        return train_sft(recipe, folder, *watchers)

    run = recipe.folder
    return run_stage(
        run / "adapter",
        format=ADAPTER_FORMAT,
        recipe=recipe.name,
        settings={**recipe.train.model_dump(mode="json"), "seed": recipe.seed},
        inputs={name: run / name for name in MADE_FROM["adapter"]},
        build=fill,
        force=force,
        keep_partial=resume,
    )


def run_dpo(recipe: Recipe, *, force: bool = False) -> tuple[Manifest, bool]:
    """Train the adapter further on preference pairs; return the manifest and whether it is new."""

    def fill(folder: Path) -> dict[str, Any]:
        with console.status("loading torch and TRL"):
            from training.dpo import train_dpo

        return train_dpo(recipe, folder)

    run = recipe.folder
    return run_stage(
        run / "dpo",
        format=DPO_FORMAT,
        recipe=recipe.name,
        settings={
            **recipe.dpo.model_dump(mode="json"),
            "load_in_4bit": recipe.train.load_in_4bit,
            "bf16": recipe.train.bf16,
            "qat_group_size": recipe.train.qat_group_size,
            "words": recipe.serve.words.value if recipe.dpo.failures else None,
            "seed": recipe.seed,
        },
        inputs={name: run / name for name in MADE_FROM["dpo"]} | own_failures(recipe),
        build=fill,
        force=force,
    )


def own_failures(recipe: Recipe) -> dict[str, Path]:
    """Return dpo.failures as a stage's input, or none.

    Raises:
        RecipeError: the file does not exist, or belongs to this very run.
    """
    path = recipe.dpo.failures
    if path is None:
        return {}
    if not path.is_file():
        raise RecipeError(
            f"dpo.failures: there is no file {path}.",
            "Give a copy of a verdict's answers.jsonl, which `make merge` writes.",
        )
    if path.resolve().is_relative_to(recipe.folder.resolve()):
        raise RecipeError(
            f"dpo.failures: {path} is written again after DPO, so every run would train on other pairs.",
            f"Copy it out of {recipe.folder} first.",
        )
    return {"failures": path}
