"""The data room's door: `python -m data build | doctor | coverage | verify`."""

from pathlib import Path
from typing import Annotated

import typer

from data import coverage as coverage_module
from data.artefact import verify
from data.build import build
from data.cli import DEFAULT_RECIPE, ForceOption, RecipeOption, SetOption, console, new_app, report, run, show_table
from data.corpus import SPLITS, training_sets
from data.doctor import examine
from data.recipe import load_recipe

app = new_app(
    "Build and check the training set, pairs of temperatures with the messages the model learns from; verify artefacts."
)

RowsOption = Annotated[int | None, typer.Option("--rows", min=1, help="Training rows of the diversified set.")]


@app.command("build")
def build_command(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    rows: RowsOption = None,
    force: ForceOption = False,
) -> None:
    """Write runs/<recipe>/data: train, validation and test JSONL, checked row by row."""
    overrides = [*(overrides or []), *([f"data.rows={rows}"] if rows else [])]
    settings = load_recipe(recipe, overrides)
    manifest, built = build(settings, force=force)
    report(settings.run / "data", manifest, built)
    console.print(
        f"  {settings.data.set}: " + ", ".join(f"{manifest.results[split]} {split}" for split in SPLITS) + " rows"
    )


@app.command()
def doctor(
    files: Annotated[list[Path] | None, typer.Argument(help="JSONL files, examined as the splits of one set.")] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
) -> None:
    """Check every row: number, direction, length, labels, alphabet, sense, duplicates, leaks between splits."""
    folder = load_recipe(recipe, overrides or ()).run / "data"
    count = examine(files or [folder / f"{split}.jsonl" for split in SPLITS])
    console.print(f"[green]{count} rows, nothing wrong[/green]")


@app.command()
def coverage(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the covered grid into this PNG.")] = None,
) -> None:
    """Count the rows by temperature band and size of change."""
    settings = load_recipe(recipe, overrides or ())
    sets = training_sets(settings.data.set, settings.data.rows, settings.seed)
    show_table(f"{settings.data.set}: rows by today's temperature and change", coverage_module.table(sets))
    if picture:
        coverage_module.draw(sets, picture)
        console.print(f"drawn: {picture}")


@app.command("verify")
def verify_command(
    folder: Annotated[Path, typer.Argument(help="An artefact, e.g. runs/kormo-10b/awq, wherever it was copied to.")],
    fast: Annotated[bool, typer.Option("--fast", help="Of large files hash the ends only.")] = False,
) -> None:
    """Check an artefact: every file's hash, and the chain of manifests behind it."""
    manifest = verify(folder, full=not fast)
    rows = [[link.stage, link.id[:16], link.recipe, link.created] for link in (*manifest.ancestors.values(), manifest)]
    show_table(f"{folder}: {len(manifest.files)} files as they were built", [["stage", "id", "recipe", "made"], *rows])


if __name__ == "__main__":
    run(app)
