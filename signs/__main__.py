"""Command line: `python -m signs test | blank | simulate | draw`.

Parks, sign and time zone are the gateway's: the same environment variables or `.env`.
"""

import asyncio
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from core.command_line import exit_code_of, interrupt_on_sigterm, print_version
from core.errors import SettingError
from signs.park_signs import SIZE, ParkSign, read_signs
from signs.settings import read_sign_settings
from signs.trial import LOOK_SECONDS, TEXT, blank_signs, find, try_sign

app = typer.Typer(
    help="Signs: try one, blank them, simulate one, draw a text in dots.",
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


ParksOption = Annotated[Path | None, typer.Option(help="The folder of the park files (SIGNBOARD_GATEWAY_PARKS).")]


@app.command("test")
def trial_command(
    name: Annotated[str, typer.Argument(help="The sign's name in its park's file; without one, its board's.")],
    text: Annotated[str, typer.Option(help="What to show; each sentence is a page.")] = TEXT,
    seconds: Annotated[float, typer.Option(min=0, max=600, help="How long each page stays.")] = LOOK_SECONDS,
    timer: Annotated[bool, typer.Option("--timer", help="Show a text that the sign must take away itself.")] = False,
    parks: ParksOption = None,
) -> None:
    """Show a text on a real sign, ask for its status, blank it; exit with 1 and say what is wrong if it fails.

    Stop the gateway before: many signs accept one connection only.
    """
    sign = find(_signs(parks), name)
    typer.echo(f"{sign.name}: {sign.told.driver}, {sign.address}, board {sign.board}")
    asyncio.run(try_sign(sign, text, typer.echo, seconds=seconds, timer=timer))


@app.command("blank")
def blank_command(
    name: Annotated[str | None, typer.Argument(help="Only this sign; else all.")] = None, parks: ParksOption = None
) -> None:
    """Blank the signs, as after a gateway that was killed; exit with 1 if one does not confirm it."""
    signs = _signs(parks)
    chosen = [find(signs, name)] if name else signs
    if asyncio.run(blank_signs(chosen, typer.echo)):
        raise typer.Exit(1)


@app.command("simulate")
def simulate_command(
    url: Annotated[str, typer.Option(help="tcp://HOST:PORT or udp://HOST:PORT to listen at.")] = "tcp://127.0.0.1:5000",
    size: Annotated[str, typer.Option(help="The screen in dots.")] = "160x32",
    address: Annotated[str, typer.Option(help="0, or 1 to F as on RS-485.")] = "0",
    lie: Annotated[
        list[str] | None, typer.Option(help="LIE@SHARE, such as late@0.1: how often it lies. Repeat for several.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Keep a picture of what it shows in this file (PNG).")] = None,
    scale: Annotated[int, typer.Option(min=1, max=16, help="Pixels of the picture for one dot.")] = 4,
    seed: Annotated[int, typer.Option(help="Equal seeds lie equally.")] = 1,
) -> None:
    """Be a DABIT controller until Ctrl-C: print what it shows; with --lie one that fails in known ways."""
    from signs.simulator import Controller, read_odds
    from signs.simulator_lines import picture_keeper, serve_until_stopped

    interrupt_on_sigterm()
    parts = urlsplit(url)
    if parts.scheme not in ("tcp", "udp") or not parts.hostname or not parts.port or not SIZE.fullmatch(size):
        raise SettingError(f"{url!r} or {size!r} cannot be used.", "Write tcp://127.0.0.1:5000 and 160x32.")
    width, height = map(int, size.split("x"))
    controller = Controller((width, height), address, odds=read_odds(lie or []), seed=seed)
    controller.changed = picture_keeper(controller, picture, scale, typer.echo)
    asyncio.run(serve_until_stopped([controller], parts.scheme, parts.hostname, parts.port, typer.echo))


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


def _signs(parks: Path | None) -> list[ParkSign]:
    settings = read_sign_settings(parks=parks)
    return read_signs(settings.parks, settings.parsed_sign, settings.timezone)


if __name__ == "__main__":
    sys.exit(exit_code_of(app))
