"""`make demo`'s last step: the verdict, eight readings, the served model's messages, and the time of each stage.

The verdict and the messages share one server, because half a minute of a demo would be vLLM's second start.
"""

import os
import time
from contextlib import ExitStack
from functools import cache

from clients.client import SignboardClient
from core.errors import ArtefactError
from evaluation.serving import served
from evaluation.verdict import run_verdict
from pipeline.cli import show_table
from pipeline.manifest import read_manifest
from pipeline.recipe import Recipe
from serve.launch import Variant
from serve.process import ModelServer

READINGS = ((10, 20), (5, 20), (35, 22), (30, 38), (20, 15), (-5, 8), (3, -12), (24, 24))
STAGES = ("data", "base", "adapter", "dpo", "merged", "awq", "verdict")
STARTED = "SIGNBOARD_DEMO_STARTED"  # set by make: seconds since the epoch at which `make demo` began


def run_demo(recipe: Recipe) -> None:
    """Judge the 4-bit checkpoint unless it was judged already, serve it and print the demo's two tables.

    Raises:
        VerdictError: it failed its verdict.
    """
    with ExitStack() as stack:

        @cache
        def start() -> ModelServer:
            return stack.enter_context(served(recipe, Variant.AWQ))

        run_verdict(recipe, start)
        show(recipe, start())


def show(recipe: Recipe, server: ModelServer) -> None:
    """Print the demo's two tables."""
    begin = time.monotonic()
    with SignboardClient(server.url, model=recipe.serve.model_name) as client:
        messages = [client.say(yesterday, today) for yesterday, today in READINGS]
    rows = [
        [f"{m.reading.yesterday} °C", f"{m.reading.today} °C", m.text, str(m.tries), f"{m.seconds:.2f}"]
        for m in messages
    ]
    show_table(
        "What the board says", [["yesterday", "today", "message, written by the model", "tries", "seconds"], *rows]
    )
    show_table("Where the time went", timings(recipe, server.start_seconds, time.monotonic() - begin))


def timings(recipe: Recipe, start_seconds: float, ask_seconds: float) -> list[list[str]]:
    """Return stage, seconds and peak memory; a stage's time comes from the run that built it."""
    rows = [["stage", "seconds", "peak memory", "built"]]
    for stage in STAGES:
        try:
            manifest = read_manifest(recipe.folder / stage)
        except ArtefactError:
            continue
        rows.append([stage, f"{manifest.seconds:.0f}", f"{manifest.peak_memory / 2**30:.1f} GiB", manifest.created])
    rows += [
        ["vLLM start, a part of a new verdict", f"{start_seconds:.0f}", "", "now"],
        ["eight messages", f"{ask_seconds:.1f}", "", "now"],
    ]
    if started := os.environ.get(STARTED):
        rows.append(["this `make demo`, imports included", f"{time.time() - float(started):.0f}", "", "now"])
    return rows
