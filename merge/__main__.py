"""Command line: `python -m merge all | fold | quantize | sign`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from merge.stages import run_fold, run_quantize
from pipeline.cli import DEFAULT_RECIPE, ForceOption, RecipeOption, SetOption, console, new_app, run_app, show_stage
from pipeline.recipe import Recipe, load_recipe
from pipeline.signature import sign
from pipeline.verdict import check_verdict

app = new_app(
    "Fold the LoRA into the 16-bit base and quantize the result to 4-bit AWQ, each step proven on held-out rows."
)


class Signed(StrEnum):
    """What can be signed: everything that can be served."""

    AWQ = "awq"
    MERGED = "merged"
    ADAPTER = "adapter"
    BASE = "base"


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


@app.command("sign")
def sign_command(
    key: Annotated[Path, typer.Option("--key", help="The private key: P-256, PEM, without a password.")],
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    stage: Annotated[Signed, typer.Option(help="The artefact to sign.")] = Signed.AWQ,
    allow_failed_verdict: Annotated[
        bool,
        typer.Option("--allow-failed-verdict", help="Sign a 4-bit checkpoint that failed its verdict, or has none."),
    ] = False,
) -> None:
    """Verify a checkpoint in full and sign it: runs/<recipe>/awq.sig. docs/signing.md."""
    settings = load_recipe(recipe, overrides or ())
    if stage is Signed.AWQ and not allow_failed_verdict:
        check_verdict(settings.folder)  # what is signed should also be good enough to be served
    signature = sign(settings.adapter if stage is Signed.ADAPTER else settings.folder / stage, key)
    console.print(f"[green]{signature}[/green] goes wherever {signature.with_suffix('')} goes")


def _fold(recipe: Recipe, force: bool) -> None:
    show_stage(recipe.folder / "merged", *run_fold(recipe, force=force))


def _quantize(recipe: Recipe, force: bool) -> None:
    show_stage(recipe.folder / "awq", *run_quantize(recipe, force=force))


if __name__ == "__main__":
    run_app(app)
