"""Command line: `python -m evaluation grid | verdict | demo | report`."""

import asyncio
import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from core.command_line import interrupt_on_sigterm
from core.errors import SettingError
from core.problem import Words
from core.sign import DEFAULT_SIGN, Sign
from pipeline.cli import DEFAULT_RECIPE, ForceOption, RecipeOption, SetOption, console, new_app, run_app
from pipeline.recipe import load_recipe

app = new_app("Ask for every usual pair of temperatures, and score, judge or report the answers.")

RoundsOption = Annotated[
    int, typer.Option("--rounds", min=1, help="Passes over the grid; five ask in every season and plainly.")
]
EveryOption = Annotated[int, typer.Option("--every", min=1, help="Ask only every Nth pair.")]


class Way(StrEnum):
    """The ways to ask a running server."""

    RAW = "raw"  # as a bare SDK call
    CLIENT = "client"  # through our client


@app.command()
def grid(
    url: Annotated[str, typer.Option(envvar="SIGNBOARD_URL", help="Endpoint.")] = "http://127.0.0.1:8000/v1",
    model: Annotated[str, typer.Option(help="Served model name.")] = "signboard",
    api_key: Annotated[str, typer.Option(envvar="SIGNBOARD_API_KEY", help="Bearer token.", show_default=False)] = "",
    sign: Annotated[
        str, typer.Option(envvar="SIGNBOARD_SIGN", help="The sign to fit: COLUMNSxLINES in cells, or scroll.")
    ] = str(DEFAULT_SIGN),
    words: Annotated[Words, typer.Option(help="How our client treats words not in the catalogue.")] = Words.STRICT,
    rounds: RoundsOption = 1,
    every: EveryOption = 1,
    only: Annotated[Way | None, typer.Option(help="One way of asking instead of both.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write scores and all answers as JSON.")] = None,
) -> None:
    """Ask a running server, raw and through our client; print a table."""
    from data.scenes import cases
    from evaluation.ask import ask_client, ask_raw
    from evaluation.scores import score, table

    fits = Sign.parse(sign or str(DEFAULT_SIGN))
    if out:
        _check_writable(out)  # fail before minutes of requests, not after
    server = (list(cases(rounds, every)), url, model, api_key or "none")
    answers = {}
    if only is not Way.CLIENT:
        answers["raw"] = asyncio.run(ask_raw(*server))
    if only is not Way.RAW:
        answers["client"] = asyncio.run(ask_client(*server, sign=fits, words=words))
    columns = {name: score(given, fits) for name, given in answers.items()}
    print(table(columns))
    if out:
        content = {
            name: {"scores": asdict(columns[name]), "answers": [asdict(a) for a in answers[name]]} for name in columns
        }
        out.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


@app.command()
def verdict(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, force: ForceOption = False) -> None:
    """Serve the 4-bit checkpoint and compare its answers with the recipe's thresholds: exit code 1 if it fails."""
    from evaluation.verdict import run_verdict

    settings = load_recipe(recipe, overrides or ())
    _, built = run_verdict(settings, force=force)
    console.print(f"{settings.folder / 'awq'} passed its verdict" + ("" if built else " before, skipped"))


@app.command()
def demo(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None) -> None:
    """Give the verdict, show eight messages and the time of every stage, all with one server, and stop."""
    from evaluation.demo import run_demo

    run_demo(load_recipe(recipe, overrides or ()))


@app.command()
def report(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    rounds: RoundsOption = 1,
    every: EveryOption = 1,
    both_sets: Annotated[
        bool, typer.Option("--both-sets", help="Also build and ask the line on the hand-written set.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Serve every variant in turn and ask each the same: print a table, write runs/<recipe>/report/report.html."""
    from evaluation.page import read_scores
    from evaluation.report import run_report
    from evaluation.scores import table

    settings = load_recipe(recipe, overrides or ())
    _, built = run_report(settings, rounds=rounds, every=every, both_sets=both_sets, force=force)
    print(table(read_scores(settings.folder / "report")))
    page = settings.folder / "report" / "report.html"
    print(f"\n{page}" + ("" if built else " is up to date, skipped"))


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise SettingError(f"{path} cannot be written: {error.strerror}.", "Choose another --out.") from error


if __name__ == "__main__":
    interrupt_on_sigterm()
    run_app(app)
