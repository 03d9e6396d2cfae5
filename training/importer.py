"""The `base` stage: the recipe's base model in Llama layout, tokenizer and template beside it."""

from pathlib import Path
from typing import Any

from data.artefact import Manifest, run_stage
from data.recipe import Recipe
from training.kormo import checkpoint_files, import_checkpoint
from training.tokens import load_tokenizer


def import_base(recipe: Recipe, *, force: bool = False) -> tuple[Manifest, bool]:
    """Import the base model; return its manifest and whether it was done now."""
    source = recipe.base.path

    def fill(folder: Path) -> dict[str, Any]:
        found = import_checkpoint(source, folder)
        load_tokenizer(folder)
        return found

    return run_stage(
        recipe.run / "base",
        recipe=recipe.name,
        settings={},
        inputs={path.name: path for path in checkpoint_files(source)},
        build=fill,
        force=force,
    )
