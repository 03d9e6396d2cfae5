"""The `base`, `adapter` and `dpo` stages. Torch is imported only when there is something to do."""

from pathlib import Path
from typing import Any

from data.artefact import MADE_FROM, Manifest, run_stage
from data.cli import console
from data.errors import RecipeError
from data.recipe import Recipe
from training.kormo import checkpoint_files, import_checkpoint


def import_base(recipe: Recipe, *, force: bool = False) -> tuple[Manifest, bool]:
    """Write the base model in Llama layout; return the manifest and whether it was done now."""
    source = recipe.base.path

    def fill(folder: Path) -> dict[str, Any]:
        from training.chat import settle_chat

        return import_checkpoint(source, folder) | settle_chat(folder, recipe.base.chat_format)

    return run_stage(
        recipe.run / "base",
        recipe=recipe.name,
        settings={"chat_format": recipe.base.chat_format},
        inputs={path.name: path for path in checkpoint_files(source)},
        build=fill,
        force=force,
    )


def train(recipe: Recipe, *, force: bool = False, resume: bool = False) -> tuple[Manifest, bool]:
    """Train the adapter; return the manifest and whether it was trained now.

    Args:
        recipe: the run.
        force: train even if a matching adapter exists.
        resume: go on from the last checkpoint of a killed run with the same settings.
    """

    def fill(folder: Path) -> dict[str, Any]:
        with console.status("loading torch and TRL"):
            from training.sft import fit

        return fit(recipe, folder)

    run = recipe.run
    return run_stage(
        run / "adapter",
        recipe=recipe.name,
        settings={**recipe.train.model_dump(mode="json"), "seed": recipe.seed},
        inputs={name: run / name for name in MADE_FROM["adapter"]},
        build=fill,
        force=force,
        keep_partial=resume,
    )


def align(recipe: Recipe, *, force: bool = False) -> tuple[Manifest, bool]:
    """Train the adapter further on preference pairs; return the manifest and whether it was done now."""

    def fill(folder: Path) -> dict[str, Any]:
        with console.status("loading torch and TRL"):
            from training.dpo import align as align_into

        return align_into(recipe, folder)

    run = recipe.run
    return run_stage(
        run / "dpo",
        recipe=recipe.name,
        settings={**recipe.dpo.model_dump(mode="json"), "load_in_4bit": recipe.train.load_in_4bit, "seed": recipe.seed},
        inputs={name: run / name for name in MADE_FROM["dpo"]} | own_failures(recipe),
        build=fill,
        force=force,
    )


def own_failures(recipe: Recipe) -> dict[str, Path]:
    """Return dpo.failures as a stage's input, or none.

    Raises:
        RecipeError: there is no such file, or it belongs to this very run.
    """
    path = recipe.dpo.failures
    if path is None:
        return {}
    if not path.is_file():
        raise RecipeError(
            f"dpo.failures: there is no file {path}.",
            "Give a copy of a gate's answers.jsonl, which `make merge` writes.",
        )
    if path.resolve().is_relative_to(recipe.run.resolve()):
        raise RecipeError(
            f"dpo.failures: {path} is written again after DPO, so that every run would train on something else.",
            f"Copy it out of {recipe.run} first.",
        )
    return {"failures": path}
