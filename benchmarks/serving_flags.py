"""How vLLM is run on a CPU: one flag, variable or library changed at a time, against the recipe, in the same round.

Usage: python -m benchmarks.serving_flags [--rounds 2] [--only eager] [--recipe recipes/nano.yaml]
In: a finished line. Out: a table: seconds to the first answer, p50 of one caller, right messages per second of 32 (all
answers where they are cut on purpose), peak memory, each also as a ratio to the recipe's own run of that round; details
in runs/<recipe>/serving-flags.json. Every second round runs backwards.
"""

import asyncio
import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gateway import free_port
from benchmarks.speed.contenders import CHAT, Contender
from benchmarks.speed.load import closed_loop, cpu_seconds, peak_mib, session
from data.artefact import write_text
from data.cli import DEFAULT_RECIPE, RecipeOption, SetOption, console, run, show_table
from data.errors import ServiceError, StageError
from data.recipe import Recipe, load_recipe
from serve.launch import Rung, prepare
from serve.server import VllmServer
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
class Variant:
    """What is different from the recipe."""

    flags: tuple[str, ...] = ()  # added; vLLM takes the last of two
    without: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    rung: Rung = Rung.AWQ
    body: dict[str, Any] = field(default_factory=dict)
    library: str = ""  # that must be loaded, or the variant is not what it says


VARIANTS = {
    USUAL: Variant(),
    "not compiled": Variant(("--enforce-eager",)),
    "bf16, not AWQ": Variant(rung=Rung.MERGED),
    "no prefix cache": Variant(("--no-enable-prefix-caching",)),
    "block size 128": Variant(("--block-size=128",)),
    "engine in a process of its own": Variant(environment={"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}),
    "two threads": Variant(environment={"OMP_NUM_THREADS": "2"}),
    "two threads that sleep while they wait": Variant(
        environment={"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    ),
    "threads bound as vLLM chooses": Variant(environment={"VLLM_CPU_OMP_THREADS_BIND": "auto"}),
    "TCMalloc": Variant(environment={"LD_PRELOAD": "libtcmalloc_minimal.so.4"}, library="libtcmalloc"),
    "at most 8 at once": Variant(("--max-num-seqs=8",)),
    "at most 64 at once": Variant(("--max-num-seqs=64",)),
    "with statistics": Variant(without=("--disable-log-stats",)),
    "16 tokens, cut": Variant(body={"max_tokens": 16, "stop": None}),
}


def main(
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Through all variants.")] = 2,
    seconds: Annotated[float, typer.Option(help="Of each load.")] = 6.0,
    only: Annotated[list[str] | None, typer.Option(help="Variants; the recipe's own always runs.")] = None,
) -> None:
    """Measure and print."""
    found = load_recipe(recipe, set_ or [])
    if unknown := set(only or ()) - set(VARIANTS):
        raise StageError(f"There is no variant {', '.join(sorted(unknown))}.", f"Choose from {', '.join(VARIANTS)}.")
    names = [name for name in VARIANTS if not only or name in only or name == USUAL]
    measured: list[dict[str, dict[str, float]]] = []
    for number in range(rounds):
        measured.append({})
        for name in names if number % 2 == 0 else reversed(names):
            try:
                measured[-1][name] = measure(found, VARIANTS[name], seconds, number)
            except ServiceError as error:
                console.print(f"round {number + 1} of {rounds}: {name}: not measured: {error}")
                continue
            console.print(f"round {number + 1} of {rounds}: {name}: {measured[-1][name]}")
            write_text(found.run / "serving-flags.json", json.dumps(measured, indent=1, ensure_ascii=False))
    show_table("One thing changed at a time", list(table(measured, names)))


def measure(recipe: Recipe, variant: Variant, seconds: float, seed: int) -> dict[str, float]:
    """Serve one variant and load it."""
    server = prepare(recipe, ServeSettings(port=free_port(), allow_failed_gate=True), variant.rung)[0]
    server.command[:] = [part for part in server.command if part not in variant.without] + list(variant.flags)
    server._environment.update(variant.environment)
    with server:
        if variant.library not in _libraries(server):
            raise ServiceError(f"{variant.library} was not loaded.", "Install it, e.g. libtcmalloc-minimal4.")
        loaded = asyncio.run(_load(recipe, server, variant, seconds, seed))
        figures = {"start_s": server.start_seconds, **loaded, "peak_mib": peak_mib(server._family())}
    return {name: round(value, 1) for name, value in figures.items()}


async def _load(recipe: Recipe, server: VllmServer, variant: Variant, seconds: float, seed: int) -> dict[str, float]:
    how = Contender("", "", CHAT, lambda _recipe, _port: server, variant.body)
    async with session() as client:
        post = how.post(client, server.url, recipe)
        await closed_loop(post, 32, 2.0, seed=99)  # warm
        one = await closed_loop(post, 1, seconds, 2 * seed)
        many = await closed_loop(post, 32, seconds, 2 * seed + 1, lambda: cpu_seconds(server._family()))
    cut = "max_tokens" in variant.body
    rate = len(many.latencies_ms) / many.seconds if cut else many.figures()["per_second"]
    cpu = 1000 * many.cpu_seconds / len(many.latencies_ms)
    return {"p50_ms": statistics.median(one.latencies_ms), "per_second": rate, "cpu_ms": cpu}


def _libraries(server: VllmServer) -> str:
    return "".join(Path(f"/proc/{process.pid}/maps").read_text(errors="replace") for process in server._family())


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
    run(lambda: typer.run(main))
