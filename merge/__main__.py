"""The merge room's door: `python -m merge` folds, quantizes and passes the gate; `fold`, `quantize` do one step."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from data.cli import DEFAULT_RECIPE, ForceOption, RecipeOption, SetOption, new_app, report, run
from data.recipe import Recipe, load_recipe
from merge.stages import merge, quantize_merged

app = new_app(
    "Fold the LoRA into the 16-bit base and quantize the result to 4-bit AWQ, each step proven on held-out rows.",
    no_args_is_help=False,
)


@app.callback(invoke_without_command=True)
def both(
    context: typer.Context,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    force: ForceOption = False,
    gate: Annotated[
        bool, typer.Option(help="Serve the result and compare its answers with the recipe's thresholds.")
    ] = True,
) -> None:
    """Fold, quantize, pass the gate: runs/<recipe>/merged, awq and gate."""
    if context.invoked_subcommand is None:
        settings = load_recipe(recipe, overrides or ())
        _fold(settings, force)
        _quantize(settings, force)
        if gate:
            _gate(recipe, overrides or [])


@app.command("fold")
def fold_command(
    recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, force: ForceOption = False
) -> None:
    """Write runs/<recipe>/merged."""
    _fold(load_recipe(recipe, overrides or ()), force)


@app.command("quantize")
def quantize_command(
    recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, force: ForceOption = False
) -> None:
    """Write runs/<recipe>/awq."""
    _quantize(load_recipe(recipe, overrides or ()), force)


def _gate(recipe: Path, overrides: list[str]) -> NoReturn:
    """Become the clients room's gate: its server wants the memory of the stages, its exit code is the verdict."""
    options = [f"--recipe={recipe}", *(f"--set={override}" for override in overrides)]
    sys.stdout.flush()
    command = [sys.executable, "-m", "clients", "evaluate", "--gate", *options]
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def _fold(recipe: Recipe, force: bool) -> None:
    report(recipe.run / "merged", *merge(recipe, force=force))


def _quantize(recipe: Recipe, force: bool) -> None:
    report(recipe.run / "awq", *quantize_merged(recipe, force=force))


if __name__ == "__main__":
    run(app)
