"""How far off are a model's sentences? Said for a reading that they do not fit, by how many °C do they miss it?

Usage: python -m benchmarks.misfits [--recipe recipes/smollm2-135m.yaml] [--column AWQ]
In: runs/<recipe>/report/answers.jsonl of `python -m evaluation report`. Out: a table, one row for the first sentences
and one for the second ones. Not run by `make test`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from core.catalogue import Condition, Sentence, advices, openings
from core.errors import StageError
from core.reading import Reading
from core.sign import split_sentences
from pipeline.cli import DEFAULT_RECIPE, RecipeOption, run_app, show_table
from pipeline.recipe import load_recipe

NEAR = 3  # °C
FAR = 100  # °C, more than any reading misses a range
KINDS = ("fits", f"off by 1 to {NEAR} °C", "off by more", "other direction or season", "not in the catalogue")
NUMBER = re.compile(r"\d+도")


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
    found = {
        "first": Counter(kind_of(answer, 0, openings()) for answer in asked),
        "second": Counter(kind_of(answer, 1, advices()) for answer in asked),
    }
    rows = [[name, *(str(counts[kind]) for kind in KINDS)] for name, counts in found.items()]
    show_table(f"{len(asked)} answers", [["sentence", *KINDS], *rows])


def kind_of(answer: dict[str, Any], place: int, sentences: Iterable[Sentence]) -> str:
    """Return how an answer's first (0) or second (1) sentence meets its reading and season."""
    reading = Reading.of(answer["yesterday"], answer["today"])
    said = split_sentences(answer["text"])[place:][:1]
    text = NUMBER.sub("{n}도", said[0]) if said and not place else "".join(said)
    known = [sentence.when for sentence in sentences if sentence.text == text]
    if not known:
        return KINDS[-1]
    off = min(missed_by(when, reading, answer["season"]) for when in known)
    limits = (0, NEAR, FAR - 1, FAR)
    return next(kind for kind, limit in zip(KINDS, limits, strict=False) if off <= limit)


def missed_by(when: Condition, reading: Reading, season: str | None) -> int:
    """Return by how many °C a condition's ranges must widen; FAR: direction or season is another."""
    return next((degrees for degrees in range(FAR) if when.holds(reading, season, degrees)), FAR)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
