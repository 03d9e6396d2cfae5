"""The ladder: base, base + adapter, merged, AWQ, and AWQ through our client; each served by vLLM, asked the same.

In: a finished line. Out: runs/<recipe>/eval with report.html, report.json and every answer. With `both_sets` the same
line is built on the hand-written set too (runs/<recipe>-large), for the original's comparison of its training sets.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from clients.evaluation.asking import ask_client, ask_raw
from clients.evaluation.report import write_report
from clients.evaluation.scores import Answer
from clients.evaluation.serving import served
from data.artefact import MADE_FROM, Manifest, read_manifest, run_stage
from data.errors import StageError
from data.reading import usual_grid
from data.recipe import Recipe, load_recipe
from data.sign import Sign

RUNGS = {"base": "base", "adapter": "base + adapter", "merged": "merged", "awq": "AWQ"}
CLIENT = "AWQ, client"
LARGE = "large: AWQ"


def climb(
    recipe: Recipe, options: list[str], *, rounds: int, every: int = 1, both_sets: bool = False, force: bool = False
) -> tuple[Manifest, bool]:
    """Climb the ladder unless it was climbed already; return the manifest and whether it was climbed now.

    Args:
        recipe: the run.
        options: `--recipe` and `--set` with which it was read.
        rounds: through the grid, on each rung.
        every: ask only every Nth reading.
        both_sets: also build and ask the line on the hand-written set.
        force: climb again.

    Raises:
        StageError: the line on the hand-written set could not be built.
    """
    large = _build_large(recipe, options) if both_sets else None
    sign = Sign.parse(recipe.gate.sign)

    def fill(folder: Path) -> dict[str, Any]:
        columns: dict[str, list[Answer]] = {}
        for rung in RUNGS:
            columns |= _ask(recipe, options, rung, rounds, every)
        if large:
            columns[LARGE] = _ask(large, _options_of_large(options, large), "awq", rounds, every)[RUNGS["awq"]]
        write_report(folder, recipe, columns, sign, judged=RUNGS["awq"])
        return {"answers": sum(map(len, columns.values()))}

    return run_stage(
        recipe.run / "eval",
        recipe=recipe.name,
        settings={
            "rounds": rounds,
            "every": every,
            "sign": str(sign),
            "large": read_manifest(large.run / "awq").id if large else None,
        },
        inputs={name: recipe.run / name for name in MADE_FROM["eval"]},
        build=fill,
        force=force,
    )


def _ask(recipe: Recipe, options: list[str], rung: str, rounds: int, every: int) -> dict[str, list[Answer]]:
    readings, model = list(usual_grid())[::every], recipe.serve.model_name
    with served(recipe, options, rung) as url:
        columns = {RUNGS[rung]: asyncio.run(ask_raw(readings, url, model, "none", rounds=rounds))}
        if rung == "awq":
            sign = Sign.parse(recipe.gate.sign)
            columns[CLIENT] = asyncio.run(ask_client(readings, url, model, "none", rounds=rounds, sign=sign))
    return columns


def _options_of_large(options: list[str], large: Recipe) -> list[str]:
    return [*options, f"--set=name={large.name}", "--set=data.set=large", f"--set=data.rows={large.data.rows}"]


def _build_large(recipe: Recipe, options: list[str]) -> Recipe:
    """Build the same line on the 302 hand-written rows; finished stages are skipped. Its gate is not asked."""
    path, overrides = _read(options)
    large = load_recipe(path, [*overrides, f"name={recipe.name}-large", "data.set=large", "data.rows=302"])
    for room in (["data", "build"], ["training", "sft"], ["merge", "--no-gate"]):
        command = [sys.executable, "-m", *room, *_options_of_large(options, large)]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            raise StageError("The line on the hand-written set could not be built.", f"Run {' '.join(command[1:])}.")
    return large


def _read(options: list[str]) -> tuple[Path, list[str]]:
    recipe, *overrides = (option.split("=", 1)[1] for option in options)
    return Path(recipe), overrides
