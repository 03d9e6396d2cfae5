"""Put a table of drafts into a checkpoint: the training messages and, where they were composed, more of their kind."""

import json
import random
from pathlib import Path

from core.prompt import Message, build_messages
from core.reading import usual_grid
from data.compose import compose
from data.scenes import random_prompt_scene
from pipeline.drafts import CONTEXT, write_drafts
from pipeline.recipe import WHOLE_CATALOGUE, ChoicesSection, Recipe
from training.tokenization import load_tokenizer, row_ids

COMPOSED = 4000  # messages: a model that chooses among 1,400 sentences says most of them only there


def ship_drafts(recipe: Recipe, jsonl: Path, folder: Path) -> int:
    """Write the table that a checkpoint's server drafts from; return how many messages it holds."""
    rows = [json.loads(line) for line in jsonl.read_text(encoding="utf-8").splitlines()]
    if recipe.data.set == "diverse":
        rows += composed_rows(recipe.seed, recipe.data.choices)
    tokenizer = load_tokenizer(folder)
    ids = [row_ids(tokenizer, row) for row in rows]
    return write_drafts(folder, [full[max(0, prompt - CONTEXT) :] for full, prompt in ids])


def composed_rows(seed: int, choices: ChoicesSection = WHOLE_CATALOGUE) -> list[dict[str, list[Message]]]:
    """Return composed rows for any reading, season and park; `choices` as in `data/choice.py`."""
    rng, grid = random.Random(seed), list(usual_grid())
    rows: list[dict[str, list[Message]]] = []
    for _ in range(COMPOSED):
        reading, scene = rng.choice(grid), random_prompt_scene(rng)
        answer: Message = {"role": "assistant", "content": compose(reading, scene, rng, choices=choices)}
        rows.append({"prompt": build_messages(reading, scene), "completion": [answer]})
    return rows
