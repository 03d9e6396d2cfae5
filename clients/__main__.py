"""The clients room's door: `python -m clients say 10 20`, `python -m clients evaluate`.

argparse, not typer: this must run where only openai and pydantic are installed.
"""

import argparse
import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import SignboardError

if TYPE_CHECKING:
    from clients.client import SignboardClient


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code: 0 done, 1 no message or no server, 2 wrong usage."""
    options = _parser().parse_args(_guard_negative_numbers(sys.argv[1:] if arguments is None else arguments))
    try:
        code: int = options.run(options)
    except SignboardError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def say(options: argparse.Namespace) -> int:
    """Print one checked message."""
    with _client(options) as client:
        message = client.say(options.yesterday, options.today)
    if options.json:
        print(json.dumps(asdict(message), ensure_ascii=False, indent=2))
        return 0
    for warning in message.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(message.text)
    return 0


def ping(options: argparse.Namespace) -> int:
    """Have one token written: is the server ready, and does it read our prompt as the model was trained?"""
    with _client(options) as client:
        print(f"ready: {client.ping() or 'a server without fingerprint'}")
    return 0


def _client(options: argparse.Namespace) -> "SignboardClient":
    from clients.client import SignboardClient  # openai takes half a second to import; --help should not wait for it

    return SignboardClient(
        options.url,
        model=options.model,
        api_key=options.api_key,
        deadline=options.deadline,
        fingerprint=options.fingerprint or None,
    )


def evaluate(options: argparse.Namespace) -> int:
    """Print the table of scores over the grid."""
    from clients.evaluate import ask_client, ask_raw, score, table
    from data.reading import usual_grid

    if options.out:
        _check_writable(options.out)  # before minutes of asking, not after
    readings = list(usual_grid())[:: options.every]
    columns, answers = {}, {}
    for name, ask in (("raw", ask_raw), ("client", ask_client)):
        if options.only in (None, name):
            answers[name] = asyncio.run(ask(readings, options.url, options.model, options.api_key))
            columns[name] = score(answers[name])
    print(table(columns))
    if options.out:
        report = {
            name: {"scores": asdict(columns[name]), "answers": [asdict(a) for a in answers[name]]} for name in columns
        }
        options.out.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    return 0


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise SignboardError(f"{path} cannot be written: {error.strerror}.", "Choose another --out.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clients", description="Ask a running Signboard server for messages."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("say", say, "One message for yesterday's and today's temperature."),
        ("ping", ping, "Is the server ready, and is it asked as its model was trained? Exit code 0 if so."),
        ("evaluate", evaluate, "Ask for every usual pair of temperatures and count what is right."),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=function)
        command.add_argument(
            "--url",
            default=os.environ.get("SIGNBOARD_URL", "http://127.0.0.1:8000/v1"),
            help="endpoint (SIGNBOARD_URL; %(default)s)",
        )
        command.add_argument("--model", default="signboard", help="served model name (%(default)s)")
        command.add_argument(
            "--api-key", default=os.environ.get("SIGNBOARD_API_KEY", "none"), help="bearer token (SIGNBOARD_API_KEY)"
        )
        if function is not evaluate:
            command.add_argument("--deadline", type=float, default=30.0, help="seconds for everything (%(default)s)")
            command.add_argument(
                "--fingerprint",
                default=os.environ.get("SIGNBOARD_FINGERPRINT"),
                help="refuse a server whose prompt is not this one (SIGNBOARD_FINGERPRINT)",
            )
        if function is say:
            command.add_argument("yesterday", type=float, help="°C, halves are rounded away from zero")
            command.add_argument("today", type=float, help="°C")
            command.add_argument(
                "--json", action="store_true", help="print text, tries, seconds, warnings and rejected samples"
            )
        elif function is evaluate:
            command.add_argument("--every", type=_positive, default=1, metavar="N", help="ask only every Nth pair")
            command.add_argument("--only", choices=("raw", "client"), help="one way of asking instead of both")
            command.add_argument("--out", type=Path, metavar="FILE", help="also write scores and all answers as JSON")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _guard_negative_numbers(arguments: list[str]) -> list[str]:
    """Let argparse take any negative number as a temperature: it knows `-5`, not `-5.`, `-1e-05` or `-inf`."""
    return [f" {argument}" if argument.startswith("-") and _is_number(argument) else argument for argument in arguments]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
