"""What every room's command line shares: the recipe options, error printing and exit codes.

Exit codes: 0 done, 1 a `SignboardError` (printed), 2 wrong usage.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from data.artefact import Manifest
from data.errors import SignboardError
from data.offline import go_offline
from data.recipe import DEFAULT_RECIPE

RecipeOption = Annotated[Path, typer.Option("--recipe", "-r", help="The recipe: one YAML file, one model's whole run.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key, e.g. train.epochs=3.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Build again even if nothing changed.")]

__all__ = [
    "DEFAULT_RECIPE",
    "ForceOption",
    "RecipeOption",
    "SetOption",
    "console",
    "new_app",
    "report",
    "run",
    "show_table",
]

# a pipe or a log has no width of its own; 80 columns would break every message
console = Console(width=None if sys.stdout.isatty() else 120)


def new_app(help_text: str, *, no_args_is_help: bool = True) -> typer.Typer:
    """Return a room's command-line app."""
    return typer.Typer(
        help=help_text, no_args_is_help=no_args_is_help, add_completion=False, pretty_exceptions_enable=False
    )


def run(app: Callable[[], Any]) -> None:
    """Run a room's door, offline: print a `SignboardError` instead of a traceback, with exit code 1."""
    go_offline()
    try:
        app()
    except SignboardError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def report(folder: Path, manifest: Manifest, built: bool) -> None:
    """Say what a stage did."""
    if not built:
        console.print(f"[dim]{folder} is up to date, skipped[/dim]")
        return
    memory = manifest.peak_memory / 2**30
    console.print(f"[green]{folder}[/green] built in {manifest.seconds:.0f} s, peak memory {memory:.1f} GiB")


def show_table(title: str, rows: list[list[str]]) -> None:
    """Print a table, header first."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, overflow="fold")  # an ellipsis would hide a part of a message
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)
