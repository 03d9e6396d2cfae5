"""The walk-through of docs/words.md, timed: an operator's sentences and a new park element, without a new base.

Usage: python -m benchmarks.own_words walk
In: the examples of docs/words.md. Out: seconds of each step, and how often the served 4-bit model says each new
sentence where it fits. Works in a copy of the repository under runs/; this checkout stays as it is.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import StageError
from pipeline.cli import console, new_app, run_app, show_table

ROOT = Path(__file__).parents[1]
COPY = ROOT / "runs" / "own-words"
RECIPE = "recipes/nano-own.yaml"
STEPS = {
    "data": ("data", "build"),
    "train": ("training", "sft"),
    "merge": ("merge", "all"),
    "verdict": ("evaluation", "verdict"),
}

app = new_app("Time the walk-through of docs/words.md.")


@app.command()
def walk(asked: Annotated[int, typer.Option(min=1, help="Messages to ask for each new sentence.")] = 40) -> None:
    """Add the page's sentences to a copy, build its line, serve it and count the new sentences."""
    rows = examples()
    _copy(rows)
    seconds = {"proofread": _step("data", "words")} | {
        name: _step(*step, "--recipe", RECIPE) for name, step in STEPS.items()
    }
    answers = json.loads(_run(sys.executable, "-m", "benchmarks.own_words", "ask", "--asked", str(asked)).stdout)
    show_table("steps", [["step", "seconds"], *([name, f"{value:.0f}"] for name, value in seconds.items())])
    show_table("said", [["sentence", "asked where it fits", "said"], *([text, *map(str, n)] for text, *n in answers)])


@app.command()
def ask(asked: int = 40) -> None:
    """Ask the copy's 4-bit model for readings that each own sentence fits (runs inside the copy)."""
    print(json.dumps(asyncio.run(_ask(asked)), ensure_ascii=False))


def examples(page: str = "docs/words.md") -> list[str]:
    """Return the rows of a page's `tsv` blocks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [row for block in re.findall(r"```tsv\n(.*?)```", text, re.DOTALL) for row in block.splitlines()]


async def _ask(asked: int) -> list[list[Any]]:
    import random

    from core.catalogue import own_advices
    from core.reading import usual_grid
    from core.season import Season
    from data.scenes import random_scene
    from evaluation.ask import ask_client
    from evaluation.serving import served
    from pipeline.recipe import load_recipe
    from serve.launch import Variant

    rng, recipe, found = random.Random(1), load_recipe(Path(RECIPE)), []
    with served(recipe, Variant.AWQ) as server:
        for own in own_advices():
            season = Season(min(own.when.seasons)) if own.when.seasons else None
            fitting = [reading for reading in usual_grid() if own.when.holds(reading, season)]
            include = [own.element] if own.element else []
            cases = [(0, rng.choice(fitting), random_scene(rng, season, include)) for _ in range(asked)]
            answers = await ask_client(cases, server.url, recipe.serve.model_name, "none")
            said = Counter(answer.text.endswith(own.text) for answer in answers)
            found.append([own.text, asked, said[True]])
    return found


def _copy(rows: list[str]) -> None:
    shutil.rmtree(COPY, ignore_errors=True)
    tracked = _run("git", "ls-files", "-co", "--exclude-standard", folder=ROOT).stdout.splitlines()
    for name in tracked:
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)
    with (COPY / "core/words/own.tsv").open("a", encoding="utf-8") as file:
        file.writelines(f"{row}\n" for row in rows)


def _step(*arguments: str) -> float:
    start = time.monotonic()
    with console.status(" ".join(arguments)):
        _run(sys.executable, "-m", *arguments)
    return time.monotonic() - start


def _run(*command: str, folder: Path = COPY) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"{' '.join(command)} failed: {done.stderr[-2000:]}", "Run it in runs/own-words to see more.")
    return done


if __name__ == "__main__":
    run_app(app)
