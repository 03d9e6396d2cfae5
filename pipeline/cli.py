"""Shared by the stages' command lines: recipe options, progress messages, tables."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from core.command_line import exit_code_of, print_version
from pipeline.environment import prepare_environment
from pipeline.manifest import Manifest
from pipeline.recipe import DEFAULT_RECIPE

RecipeOption = Annotated[Path, typer.Option("--recipe", "-r", help="The recipe: a YAML file, one model's whole run.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key, e.g. train.epochs=3.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Rebuild even if nothing changed.")]

__all__ = [
    "DEFAULT_RECIPE",
    "ForceOption",
    "RecipeOption",
    "SetOption",
    "console",
    "new_app",
    "run_app",
    "show_stage",
    "show_table",
]

# a pipe or a log has no width of its own; 80 columns would break every message
console = Console(width=None if sys.stdout.isatty() else 120)


def new_app(help_text: str) -> typer.Typer:
    """Return a room's command line; without a subcommand it prints its help."""
    app = typer.Typer(help=help_text, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_options_of_all)
    return app


def _options_of_all(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Accept options before the subcommand. This callback also makes typer keep a single command as a subcommand."""


def run_app(app: Callable[[], Any]) -> None:
    """Run a room's command line offline; exit with its exit code."""
    prepare_environment()
    sys.exit(exit_code_of(app))


def show_stage(folder: Path, manifest: Manifest, built: bool) -> None:
    """Print a stage's outcome."""
    if not built:
        console.print(f"[dim]{folder} is up to date, skipped[/dim]")
        return
    memory = manifest.peak_memory / 2**30
    console.print(f"[green]{folder}[/green] built in {manifest.seconds:.0f} s, peak memory {memory:.1f} GiB")


def show_table(title: str, rows: list[list[str]]) -> None:
    """Print a table, header first."""
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name, overflow="fold")  # an ellipsis would hide part of a message
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)
