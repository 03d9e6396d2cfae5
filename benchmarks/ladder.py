"""The ladder: base, base + adapter, merged, AWQ — each served by vLLM and asked for the whole grid.

Usage: python -m benchmarks.ladder [--recipe recipes/nano.yaml] [--rungs base,adapter,merged,awq] [--every N]
Writes runs/<recipe>/eval/ladder.md and ladder.json. Not run by `make test`.
"""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer

from clients.evaluate import Scores, ask_client, ask_raw, score, table
from data.cli import DEFAULT_RECIPE, RecipeOption, SetOption, console, run
from data.reading import usual_grid
from data.recipe import Recipe, load_recipe
from serve.launch import Rung, prepare
from serve.settings import ServeSettings

RUNGS = "base,adapter,merged,awq"


def main(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    rungs: Annotated[str, typer.Option(help="Comma-separated rungs.")] = RUNGS,
    every: Annotated[int, typer.Option(min=1, help="Ask only every Nth pair.")] = 1,
    port: Annotated[int, typer.Option(help="Port for the servers, one after another.")] = 8765,
) -> None:
    """Climb the ladder and print the table."""
    settings = load_recipe(recipe, overrides or ())
    columns: dict[str, Scores] = {}
    for rung in map(Rung, rungs.split(",")):
        columns |= climb(settings, rung, every, port)
    folder = settings.run / "eval"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ladder.md").write_text(table(columns) + "\n", encoding="utf-8")
    scores = {name: asdict(found) for name, found in columns.items()}
    (folder / "ladder.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")
    print(table(columns))


def climb(recipe: Recipe, rung: Rung, every: int, port: int) -> dict[str, Scores]:
    """Serve one rung and score it raw; the last rung through the client too."""
    readings = list(usual_grid())[::every]
    model = recipe.serve.model_name
    server, checkpoint, _ = prepare(recipe, ServeSettings(port=port), rung)
    with server:
        console.print(f"{rung}: {checkpoint} ready after {server.start_seconds:.0f} s")
        found = {f"{rung} raw": score(asyncio.run(ask_raw(readings, server.url, model, "none")))}
        if rung is Rung.AWQ:
            found["awq client"] = score(asyncio.run(ask_client(readings, server.url, model, "none")))
    return found


if __name__ == "__main__":
    run(lambda: typer.run(main))
