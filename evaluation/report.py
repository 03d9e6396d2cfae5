"""The report: vLLM serves base, base + adapter, merged, AWQ, and AWQ through our client; each is asked the same.

In: a finished run. Out: runs/<recipe>/report with report.html, report.json and every answer. With `both_sets` the same
run is also built on the hand-written set (runs/<recipe>-large), for the original's comparison of its training sets.
"""

import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from core.errors import StageError
from core.sign import Sign
from data.build import build_data
from data.scenes import cases
from evaluation.ask import ask_client, ask_raw
from evaluation.page import write_report
from evaluation.scores import Answer
from evaluation.serving import served
from merge.stages import run_fold, run_quantize
from pipeline.cli import show_stage
from pipeline.environment import prepare_environment
from pipeline.graph import MADE_FROM
from pipeline.manifest import Manifest, read_manifest
from pipeline.recipe import LessonsSection, Recipe
from pipeline.stage import run_stage
from serve.launch import Variant
from training.stages import run_dpo, run_import, run_sft

FORMAT = 5  # of this stage, see run_stage
COLUMNS = {
    Variant.BASE: "base",
    Variant.ADAPTER: "base + adapter",
    Variant.MERGED: "merged",
    Variant.AWQ: "AWQ",
}
CLIENT = "AWQ, client"
LARGE = "large: AWQ"
STAGES: dict[str, Callable[[Recipe], tuple[Manifest, bool]]] = {
    "data": build_data,
    "base": run_import,
    "adapter": run_sft,
    "dpo": run_dpo,
    "merged": run_fold,
    "awq": run_quantize,
}


def run_report(
    recipe: Recipe, *, rounds: int, every: int = 1, both_sets: bool = False, force: bool = False
) -> tuple[Manifest, bool]:
    """Write the report unless it is up to date; return its manifest and whether it is new.

    Args:
        recipe: the run.
        rounds: passes over the grid, for each variant.
        every: ask only every Nth reading.
        both_sets: also build and ask a run on the hand-written set.
        force: ask again.
    """
    large = _build_large(recipe) if both_sets else None
    sign = Sign.parse(recipe.verdict.sign)

    def fill(folder: Path) -> dict[str, Any]:
        columns: dict[str, list[Answer]] = {}
        for variant in COLUMNS:
            columns |= _ask(recipe, variant, rounds, every)
        if large:
            columns[LARGE] = _ask(large, Variant.AWQ, rounds, every)[COLUMNS[Variant.AWQ]]
        write_report(folder, recipe, columns, sign, judged=COLUMNS[Variant.AWQ])
        return {"answers": sum(map(len, columns.values()))}

    return run_stage(
        recipe.folder / "report",
        format=FORMAT,
        recipe=recipe.name,
        settings={
            "rounds": rounds,
            "every": every,
            "sign": str(sign),
            "large": read_manifest(large.folder / "awq").id if large else None,
        },
        inputs={name: recipe.folder / name for name in MADE_FROM["report"]},
        build=fill,
        force=force,
    )


def build_line(recipe: Recipe, stages: tuple[str, ...] = tuple(STAGES)) -> None:
    """Build a run up to its 4-bit checkpoint; finished stages are skipped.

    Each stage gets a process of its own, so that its memory is free again before the next one, or a server, starts.
    """
    for stage in (stage for stage in stages if stage != "dpo" or recipe.dpo.enabled):
        with ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=prepare_environment
        ) as pool:
            try:
                manifest, built = pool.submit(STAGES[stage], recipe).result()
            except BrokenProcessPool as error:
                raise StageError(
                    f"The process of the stage {stage} was killed.", "Was the memory short? Run the stage alone to see."
                ) from error
        show_stage(recipe.folder / stage, manifest, built)


def _ask(recipe: Recipe, variant: Variant, rounds: int, every: int) -> dict[str, list[Answer]]:
    asked, model = list(cases(rounds, every)), recipe.serve.model_name
    with served(recipe, variant) as server:
        columns = {COLUMNS[variant]: asyncio.run(ask_raw(asked, server.url, model, "none"))}
        if variant is Variant.AWQ:
            sign = Sign.parse(recipe.verdict.sign)
            columns[CLIENT] = asyncio.run(
                ask_client(asked, server.url, model, "none", sign=sign, words=recipe.serve.words)
            )
    return columns


def _build_large(recipe: Recipe) -> Recipe:
    """Build the same run on the hand-written rows; it needs no verdict."""
    large = on_handwritten_rows(recipe)
    build_line(large)
    return large


def on_handwritten_rows(recipe: Recipe) -> Recipe:
    """Return the recipe for the 302 hand-written rows alone: lessons are made of the other set's sentences."""
    data = recipe.data.model_copy(update={"set": "large", "rows": 302, "lessons": LessonsSection()})
    return recipe.model_copy(update={"name": f"{recipe.name}-large", "data": data})
