"""Drafting: is it faster, and are the messages distributed as without it?

Usage: python -m benchmarks.drafting speed [--recipe recipes/nano.yaml] [--rounds 2]
       python -m benchmarks.drafting same [--rounds 1] [--every 1]
In: a finished run with a table of drafts. Out: `speed`: messages a second and p50 of 1, 8, 32 and 64 callers with and
without drafts, each pair in one round; passes a message. `same`: greedy texts compared one by one; sampled ones by a
test that swaps pairs, on first sentences, second sentences and lengths, and by the verdict's scores.
"""

import asyncio
import json
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import httpx
import typer

from benchmarks.speed.contenders import CHAT, Contender, vllm
from benchmarks.speed.load import closed_loop, session
from core.ports import free_port
from core.sign import Sign, split_sentences
from data.scenes import cases
from evaluation.ask import ask_raw
from evaluation.scores import Answer, score
from pipeline.cli import DEFAULT_RECIPE, RecipeOption, SetOption, run_app, show_table
from pipeline.files import write_text
from pipeline.recipe import Recipe, load_recipe
from serve.launch import Variant
from serve.process import ModelServer

CALLERS = (1, 8, 32, 64)
WAYS = {"without": False, "with": True}
SHUFFLES = 2000
COUNTERS = {
    "tokens": "vllm:generation_tokens_total",
    "drafts": "vllm:spec_decode_num_drafts_total",
    "drafted": "vllm:spec_decode_num_draft_tokens_total",
    "accepted": "vllm:spec_decode_num_accepted_tokens_total",
    "messages": "vllm:request_success_total",
}
app = typer.Typer(no_args_is_help=True, help="Measure what drafts bring, and that they change no distribution.")


@contextmanager
def served(recipe: Recipe, *, drafting: bool, statistics_on: bool = False) -> Iterator[ModelServer]:
    """Serve a run's 4-bit checkpoint, with or without drafts; with vLLM's own statistics if asked."""
    server = vllm(Variant.AWQ, drafting=drafting)(recipe, free_port())
    if statistics_on:
        server.command.remove("--disable-log-stats")
    with server:
        yield server


@app.command()
def speed(
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Pairs of servers; every second one in the other order.")] = 2,
    seconds: Annotated[float, typer.Option(help="Of each load.")] = 8.0,
) -> None:
    """Compare speeds, and count passes."""
    found = load_recipe(recipe, set_ or [])
    measured: list[dict[str, dict[int, dict[str, float]]]] = []
    for number in range(rounds):
        measured.append({})
        for way in WAYS if number % 2 == 0 else reversed(WAYS):
            with served(found, drafting=WAYS[way]) as server:
                measured[-1][way] = asyncio.run(_load(found, server, seconds, number))
    passes = count_passes(found)
    kept = {"rounds": measured, "passes": passes}
    write_text(found.folder / "drafting-speed.json", json.dumps(kept, indent=1))
    show_table("Messages a second, and p50 in ms", list(_speed_rows(measured)))
    show_table("Passes", [["", *passes], ["a message", *(f"{value:.2f}" for value in passes.values())]])


async def _load(recipe: Recipe, server: ModelServer, seconds: float, seed: int) -> dict[int, dict[str, float]]:
    how = Contender("", "", CHAT, lambda _recipe, _port: server)
    figures = {}
    async with session() as client:
        post = how.post(client, server.url, recipe)
        await closed_loop(post, 32, 2.0, seed=99)  # warm
        for callers in CALLERS:
            level = await closed_loop(post, callers, seconds, 100 * seed + callers)
            p50 = statistics.median(level.latencies_ms)
            figures[callers] = {"per_second": level.figures()["per_second"], "p50_ms": p50}
    return figures


def _speed_rows(measured: list[dict[str, dict[int, dict[str, float]]]]) -> Iterator[list[str]]:
    yield ["callers", "without, /s", "with, /s", "ratio", "without, p50", "with, p50"]
    for callers in CALLERS:
        pairs = [(one["without"][callers], one["with"][callers]) for one in measured]
        ratio = statistics.median(new["per_second"] / old["per_second"] for old, new in pairs)
        rates, p50 = (
            [statistics.median(pair[side][figure] for pair in pairs) for side in (0, 1)]
            for figure in ("per_second", "p50_ms")
        )
        yield [str(callers), *(f"{x:.1f}" for x in rates), f"{ratio:.2f}×", *(f"{x:.0f}" for x in p50)]


def count_passes(recipe: Recipe, every: int = 8) -> dict[str, float]:
    """Return, per message: tokens, passes of the model, drafts, drafted tokens, accepted ones."""
    with served(recipe, drafting=True, statistics_on=True) as server:
        before = counters(server)
        asyncio.run(ask_raw(list(cases(1, every)), server.url, recipe.serve.model_name, "none"))
        after = counters(server)
    grown = {name: after[name] - before[name] for name in COUNTERS}
    each = {name: grown[name] / grown["messages"] for name in COUNTERS if name != "messages"}
    return {"tokens": each["tokens"], "passes": each["tokens"] - each["accepted"]} | each


def counters(server: ModelServer) -> dict[str, float]:
    """Return vLLM's counters of drafts."""
    text = httpx.get(server.url.removesuffix("/v1") + "/metrics", trust_env=False).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines()]
    return {
        name: sum(float(value) for label, value in lines if label.split("{")[0] == key)
        for name, key in COUNTERS.items()
    }


@app.command()
def same(
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    rounds: Annotated[int, typer.Option(min=1, help="Passes over the grid, each way.")] = 1,
    every: Annotated[int, typer.Option(min=1, help="Only every Nth reading.")] = 1,
) -> None:
    """Compare what is said."""
    found = load_recipe(recipe, set_ or [])
    asked = list(cases(rounds, every))
    greedy, sampled = {}, {}
    for way, drafting in WAYS.items():
        with served(found, drafting=drafting) as server:
            ask = server.url, found.serve.model_name, "none"
            greedy[way] = asyncio.run(ask_raw(asked, *ask, temperature=0.0))
            sampled[way] = asyncio.run(ask_raw(asked, *ask))
    differ = sum(a.text != b.text for a, b in zip(greedy["without"], greedy["with"], strict=True))
    without, with_ = sampled.values()
    tests = [(name, *swap_test(list(map(key, without)), list(map(key, with_)))) for name, key in KEYS.items()]
    show_table("Greedy", [["answers", "that differ"], [str(len(asked)), str(differ)]])
    show_table("Sampled", [["", "distance", "p"], *([name, f"{far:.4f}", f"{p:.3f}"] for name, far, p in tests)])
    scores = [asdict(score(sampled[way], Sign.parse(found.verdict.sign))) for way in WAYS]
    show_table("Scores", [["", *WAYS], *([key, *(f"{one[key]:.4g}" for one in scores)] for key in scores[0])])


def _form(answer: Answer) -> str:
    return re.sub(r"\d+", "n", split_sentences(answer.text)[0])


KEYS: dict[str, Callable[[Answer], str]] = {
    "first sentence": _form,
    "second sentence": lambda answer: split_sentences(answer.text)[-1],
    "length": lambda answer: str(len(answer.text)),
}


def swap_test(ours: Sequence[str], theirs: Sequence[str], seed: int = 1) -> tuple[float, float]:
    """Return how far two samples of the same cases are apart, 0…1 (total variation), and p.

    p: how often they are as far after each case's pair was swapped or not, at random.
    """
    rng, far, as_far = random.Random(seed), _distance(ours, theirs), 0
    for _ in range(SHUFFLES):
        pairs = [(a, b) if rng.random() < 0.5 else (b, a) for a, b in zip(ours, theirs, strict=True)]
        as_far += _distance(*zip(*pairs, strict=True)) >= far
    return far, (as_far + 1) / (SHUFFLES + 1)


def _distance(ours: Sequence[str], theirs: Sequence[str]) -> float:
    a, b = Counter(ours), Counter(theirs)
    return sum(abs(a[key] - b[key]) for key in a | b) / 2 / len(ours)


if __name__ == "__main__":
    run_app(app)
