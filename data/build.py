"""Build the `data` artefact: train/validation/test JSONL, checked by the doctor before it is published."""

import json
from pathlib import Path
from typing import Any

from data.artefact import Manifest, run_stage, write_text
from data.corpus import SPLITS, Row, training_sets
from data.coverage import draw
from data.doctor import examine
from data.prompt import PROMPT_VERSION
from data.recipe import Recipe
from data.sense import CORPUS


def build(recipe: Recipe, *, force: bool = False) -> tuple[Manifest, bool]:
    """Build the training set of a recipe; return its manifest and whether it was built now."""

    def fill(folder: Path) -> dict[str, Any]:
        sets = training_sets(recipe.data.set, recipe.data.rows, recipe.seed)
        for split in SPLITS:
            write_jsonl(folder / f"{split}.jsonl", sets[split])
        rows = examine([folder / f"{split}.jsonl" for split in SPLITS])
        draw(sets, folder / "coverage.png")
        return {"rows": rows, **{split: len(sets[split]) for split in SPLITS}}

    return run_stage(
        recipe.run / "data",
        recipe=recipe.name,
        settings={**recipe.data.model_dump(), "seed": recipe.seed, "prompt_version": PROMPT_VERSION},
        inputs={path.name: path for path in sorted(CORPUS.iterdir())},
        build=fill,
        force=force,
        compare=True,
    )


def write_jsonl(path: Path, rows: list[Row]) -> None:
    """Write rows as conversational prompt/completion JSONL."""
    write_text(path, "".join(json.dumps(row.as_conversation(), ensure_ascii=False) + "\n" for row in rows))
