"""How far off are a model's sentences? Said for a reading that they do not fit, by how many °C do they miss it?

Usage: python -m benchmarks.misfits [--recipe recipes/smollm2-135m.yaml] [--column AWQ]
In: runs/<recipe>/report/answers.jsonl of `python -m evaluation report`. Out: a table, one row for the first sentences
and one for the second ones. Not run by `make test`.
"""

import json
from collections import Counter
from typing import Annotated, Any

import typer

from core.catalogue import Condition
from core.errors import StageError
from core.reading import Reading
from core.sense import condition_of
from core.sign import split_sentences
from pipeline.cli import DEFAULT_RECIPE, RecipeOption, run_app, show_table
from pipeline.recipe import load_recipe

NEAR = 3  # °C
FAR = 100  # °C, more than any reading misses a range
KINDS = ("fits", f"off by 1 to {NEAR} °C", "off by more", "other direction or season", "not in the catalogue")


def main(
    recipe: RecipeOption = DEFAULT_RECIPE,
    column: Annotated[str, typer.Option(help="Of the report.")] = "AWQ",
) -> None:
    """Count and print."""
    path = load_recipe(recipe).folder / "report" / "answers.jsonl"
    if not path.exists():
        raise StageError(f"{path} is missing.", "Write it: python -m evaluation report.")
    answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    asked = [answer for answer in answers if answer["column"] == column and answer["text"]]
    if not asked:
        raise StageError(f"The report has no answers of {column!r}.", "Choose one of its columns.")
    rows = []
    for place, name in enumerate(("first", "second")):
        counts = Counter(kind_of(answer, place) for answer in asked)
        rows.append([name, *(str(counts[kind]) for kind in KINDS)])
    show_table(f"{len(asked)} answers", [["sentence", *KINDS], *rows])


def kind_of(answer: dict[str, Any], place: int) -> str:
    """Return how an answer's first (0) or second (1) sentence meets its reading and season."""
    when = condition_of("".join(split_sentences(answer["text"])[place : place + 1]))
    if when is None:
        return KINDS[-1]
    off = missed_by(when, Reading.of(answer["yesterday"], answer["today"]), answer["season"])
    limits = (0, NEAR, FAR - 1, FAR)
    return next(kind for kind, limit in zip(KINDS, limits, strict=False) if off <= limit)


def missed_by(when: Condition, reading: Reading, season: str | None) -> int:
    """Return by how many °C a condition's ranges must widen; FAR: direction or season is another."""
    return next((degrees for degrees in range(FAR) if when.holds(reading, season, degrees)), FAR)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
