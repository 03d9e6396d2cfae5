"""Build the `data` artefact: train/validation/test JSONL, checked by the doctor before it is published."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.catalogue import WORDS
from core.prompt import PROMPT_VERSION
from data.coverage import draw
from data.doctor import examine
from data.lessons import Lesson, lessons
from data.sets import CORPUS, SPLITS, Example, held_out_readings, sets_of
from data.words import proofread
from pipeline.files import write_text
from pipeline.manifest import Manifest
from pipeline.recipe import Recipe
from pipeline.stage import run_stage

FORMAT = 7  # of this stage, see run_stage
LESSONS = "lessons.jsonl"


def build_data(recipe: Recipe, *, force: bool = False) -> tuple[Manifest, bool]:
    """Build the training set of a recipe; return its manifest and whether it is new."""

    def fill(folder: Path) -> dict[str, Any]:
        proofread()
        sets = sets_of(recipe)
        for split in SPLITS:
            write_jsonl(folder / f"{split}.jsonl", sets[split])
        if short := lessons(recipe.data.lessons, held_out_readings(), recipe.seed, recipe.data.choices):
            write_jsonl(folder / LESSONS, short)
        rows = examine([folder / f"{split}.jsonl" for split in SPLITS])
        draw(sets, folder / "coverage.png")
        return {"rows": rows, "lessons": len(short), **{split: len(sets[split]) for split in SPLITS}}

    return run_stage(
        recipe.folder / "data",
        format=FORMAT,
        recipe=recipe.name,
        settings={**recipe.data.model_dump(), "seed": recipe.seed, "prompt_version": PROMPT_VERSION},
        inputs={path.name: path for folder in (CORPUS, WORDS) for path in sorted(folder.iterdir())},
        build=fill,
        force=force,
        compare=True,
    )


def write_jsonl(path: Path, rows: Sequence[Example | Lesson]) -> None:
    """Write rows as prompt/completion JSONL."""
    write_text(path, "".join(json.dumps(row.as_conversation(), ensure_ascii=False) + "\n" for row in rows))
