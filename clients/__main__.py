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

from data.errors import SettingError, SignboardError
from data.sign import DEFAULT_SIGN, Sign

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
        sign=getattr(options, "sign", DEFAULT_SIGN),
    )


def evaluate(options: argparse.Namespace) -> int:
    """Ask for the whole grid: a running server, every rung of a line in turn, or the 4-bit rung for a verdict."""
    if options.ladder or options.gate:
        return _evaluate_line(options)
    from clients.evaluation.asking import ask_client, ask_raw
    from clients.evaluation.scores import score, table
    from data.reading import usual_grid

    if options.out:
        _check_writable(options.out)  # before minutes of asking, not after
    readings = list(usual_grid())[:: options.every]
    server = (readings, options.url, options.model, options.api_key)
    answers = {}
    if options.only != "client":
        answers["raw"] = asyncio.run(ask_raw(*server, rounds=options.rounds))
    if options.only != "raw":
        answers["client"] = asyncio.run(ask_client(*server, rounds=options.rounds, sign=options.sign))
    columns = {name: score(found, options.sign) for name, found in answers.items()}
    print(table(columns))
    if options.out:
        report = {
            name: {"scores": asdict(columns[name]), "answers": [asdict(a) for a in answers[name]]} for name in columns
        }
        options.out.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    return 0


def _evaluate_line(options: argparse.Namespace) -> int:
    from data.offline import go_offline
    from data.recipe import load_recipe

    go_offline()
    recipe = load_recipe(options.recipe, options.overrides)
    chosen = [f"--recipe={options.recipe}", *(f"--set={override}" for override in options.overrides)]
    if options.gate:
        from clients.evaluation.gate import pass_gate

        _, built = pass_gate(recipe, chosen, force=options.force)
        print(f"{recipe.run / 'awq'} passed the gate" + ("" if built else " before, skipped"))
        return 0
    from clients.evaluation.ladder import climb
    from clients.evaluation.report import read_scores
    from clients.evaluation.scores import table

    _, built = climb(
        recipe,
        chosen,
        rounds=options.rounds,
        every=options.every,
        both_sets=options.both_sets,
        force=options.force,
    )
    print(table(read_scores(recipe.run / "eval")))
    print(f"\n{recipe.run / 'eval' / 'report.html'}" + ("" if built else " is up to date, skipped"))
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
        if function is not ping:
            command.add_argument(
                "--sign",
                type=_sign,
                default=os.environ.get("SIGNBOARD_SIGN") or str(DEFAULT_SIGN),
                metavar="COLUMNSxLINES",
                help="what a message must fit, in cells; or scroll, scroll:80 (SIGNBOARD_SIGN; %(default)s)",
            )
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
            _add_evaluate_options(command)
    return parser


def _add_evaluate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--every", type=_positive, default=1, metavar="N", help="ask only every Nth pair")
    command.add_argument(
        "--rounds", type=_positive, default=1, metavar="N", help="through the grid, each with its seeds"
    )
    command.add_argument("--only", choices=("raw", "client"), help="one way of asking instead of both")
    command.add_argument("--out", type=Path, metavar="FILE", help="also write scores and all answers as JSON")
    line = command.add_argument_group("a line instead of a running server", "serves what it asks, one after the other")
    what = line.add_mutually_exclusive_group()
    what.add_argument("--ladder", action="store_true", help="base, base + adapter, merged, AWQ, client: a report")
    what.add_argument(
        "--gate", action="store_true", help="AWQ against the recipe's thresholds: exit code 1 if it fails"
    )
    line.add_argument("--recipe", "-r", type=Path, default=Path("recipes/nano.yaml"), help="(%(default)s)")
    line.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override a key"
    )
    line.add_argument("--both-sets", action="store_true", help="with --ladder: also build and ask the hand-written set")
    line.add_argument("--force", action="store_true", help="ask again even if nothing changed")


def _sign(text: str) -> Sign:
    try:
        return Sign.parse(text)
    except SettingError as error:
        raise argparse.ArgumentTypeError(f"{error.what} {error.todo}") from error


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
