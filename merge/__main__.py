"""Command line: `python -m merge all | fold | quantize`."""

from merge.stages import run_fold, run_quantize
from pipeline.cli import DEFAULT_RECIPE, ForceOption, RecipeOption, SetOption, new_app, run_app, show_stage
from pipeline.recipe import Recipe, load_recipe

app = new_app(
    "Fold the LoRA into the 16-bit base and quantize the result to 4-bit AWQ, each step proven on held-out rows."
)


@app.command("all")
def all_command(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, force: ForceOption = False) -> None:
    """Fold, then quantize."""
    settings = load_recipe(recipe, overrides or ())
    _fold(settings, force)
    _quantize(settings, force)


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


def _fold(recipe: Recipe, force: bool) -> None:
    show_stage(recipe.folder / "merged", *run_fold(recipe, force=force))


def _quantize(recipe: Recipe, force: bool) -> None:
    show_stage(recipe.folder / "awq", *run_quantize(recipe, force=force))


if __name__ == "__main__":
    run_app(app)
