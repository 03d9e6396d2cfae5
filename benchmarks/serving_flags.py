"""vLLM's flags on a CPU: change one flag, variable or library at a time and compare with the recipe in the same round.

Usage: python -m benchmarks.serving_flags [--rounds 2] [--only eager] [--recipe recipes/nano.yaml]
In: a finished run. Out: a table: seconds to the first answer, p50 of one caller, right messages per second of 32 (all
answers if a change cuts them on purpose), peak memory, each also as a ratio to the unchanged recipe in that round;
details in runs/<recipe>/serving-flags.json. Every second round runs backwards.
"""

import asyncio
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.speed.contenders import CHAT, Contender
from benchmarks.speed.load import closed_loop, cpu_seconds, peak_mib, session
from core.errors import ServiceError, StageError
from core.ports import free_port
from pipeline.cli import DEFAULT_RECIPE, RecipeOption, SetOption, console, run_app, show_table
from pipeline.files import write_text
from pipeline.recipe import Recipe, load_recipe
from serve.launch import Variant, prepare
from serve.process import ModelServer
from serve.settings import ServeSettings

USUAL = "as in the recipe"
FIGURES = {
    "start_s": "start, s",
    "p50_ms": "p50 of one, ms",
    "per_second": "messages/s of 32",
    "cpu_ms": "CPU ms each",
    "peak_mib": "peak, MiB",
}


@dataclass(frozen=True)
class Change:
    """A difference from the recipe."""

    flags: tuple[str, ...] = ()  # added; vLLM takes the last of two
    without: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    variant: Variant = Variant.AWQ
    body: dict[str, Any] = field(default_factory=dict)
    library: str = ""  # must be loaded, or the change did not take effect


CHANGES = {
    USUAL: Change(),
    "not compiled": Change(("--enforce-eager",)),
    "bf16, not AWQ": Change(variant=Variant.MERGED),
    "no prefix cache": Change(("--no-enable-prefix-caching",)),
    "block size 128": Change(("--block-size=128",)),
    "engine in a process of its own": Change(environment={"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}),
    "two threads": Change(environment={"OMP_NUM_THREADS": "2"}),
    "two threads that sleep while they wait": Change(
        environment={"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    ),
    "threads bound as vLLM chooses": Change(environment={"VLLM_CPU_OMP_THREADS_BIND": "auto"}),
    "TCMalloc": Change(environment={"LD_PRELOAD": "libtcmalloc_minimal.so.4"}, library="libtcmalloc"),
    "at most 8 at once": Change(("--max-num-seqs=8",)),
    "at most 64 at once": Change(("--max-num-seqs=64",)),
    "with statistics": Change(without=("--disable-log-stats",)),
    "16 tokens, cut": Change(body={"max_tokens": 16, "stop": None}),
}


def main(
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Passes over all changes.")] = 2,
    seconds: Annotated[float, typer.Option(help="Of each load.")] = 6.0,
    only: Annotated[list[str] | None, typer.Option(help="Only these changes, and the unchanged recipe.")] = None,
) -> None:
    """Measure and print."""
    found = load_recipe(recipe, set_ or [])
    if unknown := set(only or ()) - set(CHANGES):
        raise StageError(f"There is no change {', '.join(sorted(unknown))}.", f"Choose from {', '.join(CHANGES)}.")
    names = [name for name in CHANGES if not only or name in only or name == USUAL]
    measured: list[dict[str, dict[str, float]]] = []
    for number in range(rounds):
        measured.append({})
        for name in names if number % 2 == 0 else reversed(names):
            try:
                measured[-1][name] = measure(found, CHANGES[name], seconds, number)
            except ServiceError as error:
                console.print(f"round {number + 1} of {rounds}: {name}: not measured: {error}")
                continue
            console.print(f"round {number + 1} of {rounds}: {name}: {measured[-1][name]}")
            write_text(found.folder / "serving-flags.json", json.dumps(measured, indent=1, ensure_ascii=False))
    show_table("One thing changed at a time", list(table(measured, names)))


def measure(recipe: Recipe, change: Change, seconds: float, seed: int) -> dict[str, float]:
    """Serve one change and load it."""
    server = prepare(recipe, ServeSettings(port=free_port(), allow_failed_verdict=True), change.variant).server
    server.command[:] = [part for part in server.command if part not in change.without] + list(change.flags)
    server._environment.update(change.environment)
    with server:
        if change.library not in _libraries(server):
            raise ServiceError(f"{change.library} was not loaded.", "Install it, e.g. libtcmalloc-minimal4.")
        loaded = asyncio.run(_load(recipe, server, change, seconds, seed))
        figures = {"start_s": server.start_seconds, **loaded, "peak_mib": peak_mib(server.processes())}
    return {name: round(value, 1) for name, value in figures.items()}


async def _load(recipe: Recipe, server: ModelServer, change: Change, seconds: float, seed: int) -> dict[str, float]:
    how = Contender("", "", CHAT, lambda _recipe, _port: server, change.body)
    async with session() as client:
        post = how.post(client, server.url, recipe)
        await closed_loop(post, 32, 2.0, seed=99)  # warm
        one = await closed_loop(post, 1, seconds, 2 * seed)
        many = await closed_loop(post, 32, seconds, 2 * seed + 1, lambda: cpu_seconds(server.processes()))
    cut = "max_tokens" in change.body
    rate = len(many.latencies_ms) / many.seconds if cut else many.figures()["per_second"]
    cpu = 1000 * many.cpu_seconds / len(many.latencies_ms)
    return {"p50_ms": statistics.median(one.latencies_ms), "per_second": rate, "cpu_ms": cpu}


def _libraries(server: ModelServer) -> str:
    return "".join(Path(f"/proc/{process.pid}/maps").read_text(errors="replace") for process in server.processes())


def table(measured: list[dict[str, dict[str, float]]], names: list[str]) -> Iterator[list[str]]:
    """Yield the table's rows: medians, and the median of each round's ratio to the recipe's own."""
    yield ["", *FIGURES.values()]
    for name in names:
        rounds = [one for one in measured if name in one and USUAL in one]
        cells = []
        for figure in FIGURES if rounds else ():
            middle = statistics.median(one[name][figure] for one in rounds)
            ratio = statistics.median(one[name][figure] / one[USUAL][figure] for one in rounds)
            cells.append(f"{middle:.1f} ({ratio:.2f}×)")
        yield [name, *cells]


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
