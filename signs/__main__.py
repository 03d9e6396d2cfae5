"""Command line: `python -m signs draw`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from core.command_line import exit_code_of, print_version

app = typer.Typer(
    help="Signs: draw a text in dots.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def options_of_all(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Accept options before the subcommand."""


@app.command("draw")
def draw_command(
    text: Annotated[str, typer.Argument(help="The text; one sentence makes a page.")],
    file: Annotated[Path, typer.Option(help="The picture to write (PNG); pages stand below each other.")],
    size: Annotated[
        str, typer.Option(help="The sign in dots: 192x48, or 192x48:12 for the font of 12 dots.")
    ] = "192x48",
    scale: Annotated[int, typer.Option(min=1, max=16, help="Pixels of the picture for one dot.")] = 1,
) -> None:
    """Draw a text as a sign of this size shows it."""
    from signs.raster import SignProfile, as_picture, render

    as_picture(render(text, SignProfile.parse(size)), scale).save(file)
    print(file)


if __name__ == "__main__":
    sys.exit(exit_code_of(app))
