"""Command line: `python -m clients say 10 20`, `python -m clients ping`.

argparse, not typer: this must run where only openai and pydantic are installed.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from core import __version__
from core.command_line import exit_code_of
from core.errors import ParkError, SettingError
from core.park import Scene
from core.problem import Words
from core.season import Season
from core.sign import DEFAULT_SIGN, Sign

if TYPE_CHECKING:
    from clients.client import SignboardClient


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code: 0 done, 1 no message or no server, 2 wrong usage."""
    options = _parser().parse_args(_guard_negative_numbers(sys.argv[1:] if arguments is None else arguments))
    return exit_code_of(lambda: options.run(options))


def say(options: argparse.Namespace) -> None:
    """Print one checked message."""
    with _client(options) as client:
        message = client.say(options.yesterday, options.today, scene=_scene(options))
    if options.json:
        print(json.dumps(asdict(message), ensure_ascii=False, indent=2))
        return
    print(message.text)


def ping(options: argparse.Namespace) -> None:
    """Request one token: check that the server is ready and reads our prompt as the model was trained on it."""
    with _client(options) as client:
        print(f"ready: {client.ping() or 'a server without fingerprint'}")


def _client(options: argparse.Namespace) -> "SignboardClient":
    from clients.client import SignboardClient  # openai takes half a second to import; --help should not wait for it

    return SignboardClient(
        options.url,
        model=options.model,
        api_key=options.api_key,
        deadline=options.deadline,
        fingerprint=options.fingerprint or None,
        sign=getattr(options, "sign", DEFAULT_SIGN),
        words=Words(getattr(options, "words", Words.STRICT)),
    )


def _parser() -> argparse.ArgumentParser:
    # The module is called `clients` in the repository and `signboard` where the wheel is installed.
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}", description="Ask a running Signboard server for messages."
    )
    parser.add_argument("--version", action="version", version=f"signboard {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "Print one message for yesterday's and today's temperature."
    command = commands.add_parser("say", help=text, description=text)
    command.set_defaults(run=say)
    _add_server_options(command)
    command.add_argument(
        "--sign",
        type=_sign,
        default=os.environ.get("SIGNBOARD_SIGN") or str(DEFAULT_SIGN),
        metavar="COLUMNSxLINES",
        help="the sign that a message must fit, in cells; or scroll, scroll:80 (SIGNBOARD_SIGN; %(default)s)",
    )
    command.add_argument("--season", choices=list(map(str, Season)), help="with --elements: the season now")
    command.add_argument("--elements", metavar="A,B", help="what is in the park, for instance 벤치,잔디밭")
    command.add_argument(
        "--words",
        choices=list(map(str, Words)),
        default=str(Words.STRICT),
        help="words not in the catalogue (%(default)s)",
    )
    command.add_argument("yesterday", type=float, help="°C, halves are rounded away from zero")
    command.add_argument("today", type=float, help="°C")
    command.add_argument("--json", action="store_true", help="print text, tries, seconds and rejected samples")
    text = "Exit with 0 if the server is ready and reads the prompt as its model was trained on it."
    command = commands.add_parser("ping", help=text, description=text)
    command.set_defaults(run=ping)
    _add_server_options(command)
    return parser


def _add_server_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--url",
        default=os.environ.get("SIGNBOARD_URL", "http://127.0.0.1:8000/v1"),
        help="endpoint (SIGNBOARD_URL; %(default)s)",
    )
    command.add_argument("--model", default="signboard", help="served model name (%(default)s)")
    command.add_argument(
        "--api-key", default=os.environ.get("SIGNBOARD_API_KEY", "none"), help="bearer token (SIGNBOARD_API_KEY)"
    )
    command.add_argument("--deadline", type=float, default=30.0, help="seconds in total (%(default)s)")
    command.add_argument(
        "--fingerprint",
        default=os.environ.get("SIGNBOARD_FINGERPRINT"),
        help="reject a server with another prompt fingerprint (SIGNBOARD_FINGERPRINT)",
    )


def _scene(options: argparse.Namespace) -> Scene | None:
    if not options.season and not options.elements:
        return None
    if not (options.season and options.elements):
        raise ParkError("--season and --elements go together.", "Give both, or neither for the plain prompt.")
    return Scene.of(options.season, (name.strip() for name in options.elements.split(",")))


def _sign(text: str) -> Sign:
    try:
        return Sign.parse(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(f"{error.what} {error.todo}") from error


def _guard_negative_numbers(arguments: list[str]) -> list[str]:
    """Make argparse accept any negative number as a temperature: alone it accepts `-5`, not `-5.`, `-1e-05`, `-inf`."""
    return [f" {argument}" if argument.startswith("-") and _is_number(argument) else argument for argument in arguments]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
