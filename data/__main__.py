"""Command line: `python -m data build | words | doctor | coverage`."""

from pathlib import Path
from typing import Annotated

import typer

from core.catalogue import elements
from data import coverage as coverage_module
from data.build import build_data
from data.doctor import examine
from data.sets import SPLITS, sets_of
from data.words import proofread
from pipeline.cli import (
    DEFAULT_RECIPE,
    ForceOption,
    RecipeOption,
    SetOption,
    console,
    new_app,
    run_app,
    show_stage,
    show_table,
)
from pipeline.recipe import load_recipe

app = new_app("Build and check the training set: pairs of temperatures with the messages that the model learns from.")

RowsOption = Annotated[int | None, typer.Option("--rows", min=1, help="Training rows of the diversified set.")]


@app.command()
def build(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    rows: RowsOption = None,
    force: ForceOption = False,
) -> None:
    """Write runs/<recipe>/data: train, validation and test JSONL, checked row by row."""
    overrides = [*(overrides or []), *([f"data.rows={rows}"] if rows else [])]
    settings = load_recipe(recipe, overrides)
    manifest, built = build_data(settings, force=force)
    show_stage(settings.folder / "data", manifest, built)
    console.print(
        f"  {settings.data.set}: " + ", ".join(f"{manifest.results[split]} {split}" for split in SPLITS) + " rows"
    )


@app.command()
def doctor(
    files: Annotated[list[Path] | None, typer.Argument(help="JSONL files, checked as the splits of one set.")] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
) -> None:
    """Check every row: every check of a message, duplicates, leaks between splits."""
    folder = load_recipe(recipe, overrides or ()).folder / "data"
    count = examine(files or [folder / f"{split}.jsonl" for split in SPLITS])
    console.print(f"[green]{count} rows, no faults[/green]")


@app.command()
def words() -> None:
    """Proofread the catalogue in core/words, your own sentences (own.tsv) first."""
    console.print(f"[green]{proofread()} sentences, no faults[/green]; park elements: {', '.join(elements())}")


@app.command()
def coverage(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the covered grid as this PNG.")] = None,
) -> None:
    """Count the rows by temperature band and size of change."""
    settings = load_recipe(recipe, overrides or ())
    sets = sets_of(settings)
    show_table(f"{settings.data.set}: rows by today's temperature and change", coverage_module.table(sets))
    if picture:
        coverage_module.draw(sets, picture)
        console.print(f"drawn: {picture}")


if __name__ == "__main__":
    run_app(app)
