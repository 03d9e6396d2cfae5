"""The two training sets: "large" (340 hand-written rows) and "diverse" (composed), each in the same three splits.

The splits are disjoint by input pair, and the pairs held out of one set are held out of the other.
"""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, cast

from core.catalogue import Sentence, own_advices
from core.errors import CorpusError
from core.park import EVERYWHERE, Scene
from core.prompt import build_messages
from core.reading import Reading, usual_grid
from core.season import Season
from core.truth import elements_in
from data.compose import compose
from data.scenes import PLAIN_SHARE, random_prompt_scene, random_scene
from pipeline.recipe import WHOLE_CATALOGUE, ChoicesSection, Recipe

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
CORPUS = Path(__file__).parent / "corpus"
HANDWRITTEN = CORPUS / "handwritten.tsv"
NO_CHANGE_SHARE = 0.1  # of the diversified rows, as in the hand-written set; on the grid it is 0.023
OWN_ROWS = 12  # training rows, at most, for each of the operator's own sentences, beside the other rows


@dataclass(frozen=True, slots=True)
class Example:
    """One training example."""

    reading: Reading
    scene: Scene | None  # None: the plain prompt
    message: str

    def as_conversation(self) -> dict[str, Any]:
        """Return the row as TRL's conversational prompt/completion."""
        return {
            "prompt": build_messages(self.reading, self.scene),
            "completion": [{"role": "assistant", "content": self.message}],
        }


def sets_of(recipe: Recipe) -> dict[Split, list[Example]]:
    """Return the three splits of a recipe's training set."""
    data = recipe.data
    return training_sets(data.set, data.rows, recipe.seed, data.rows_per_scene, data.choices)


def training_sets(
    name: str, rows: int, seed: int, rows_per_scene: int = 1, choices: ChoicesSection = WHOLE_CATALOGUE
) -> dict[Split, list[Example]]:
    """Return the three splits of a set; `rows` is the number of training rows, the others are as for `diverse`.

    Raises:
        CorpusError: the set has fewer rows than requested.
    """
    if name == "diverse":
        return diverse(rows, seed, rows_per_scene, choices)
    sets = handwritten()
    if rows > len(sets["train"]):
        raise CorpusError(
            f"The hand-written set has {len(sets['train'])} training rows, not {rows}.",
            "Use data.set=diverse for more.",
        )
    return sets | {"train": sets["train"][:rows]}


@cache
def _handwritten() -> tuple[tuple[Split, Example], ...]:
    rng = random.Random(0)
    with HANDWRITTEN.open(encoding="utf-8", newline="") as file:
        return tuple(
            (cast(Split, entry["split"]), _handwritten_row(entry, rng))
            for entry in csv.DictReader(file, delimiter="\t")
        )


def _handwritten_row(entry: dict[str, str], rng: random.Random) -> Example:
    """Give a hand-written message a scene in which it is true."""
    reading, message = Reading.of(int(entry["yesterday"]), int(entry["today"])), entry["message"]
    named = elements_in(message)
    season = Season(entry["season"]) if entry["season"] else None
    plain = season is None and named <= set(EVERYWHERE) and rng.random() < PLAIN_SHARE
    return Example(reading, None if plain else random_scene(rng, season, named), message)


def handwritten() -> dict[Split, list[Example]]:
    """Return the 340 hand-written rows by split (302, 15, 23)."""
    return {split: [row for name, row in _handwritten() if name == split] for split in SPLITS}


def held_out() -> dict[Split, list[Reading]]:
    """Return the readings of the validation and test rows, which are in no training set."""
    splits: tuple[Split, ...] = ("validation", "test")
    return {split: [row.reading for row in handwritten()[split]] for split in splits}


def held_out_readings() -> set[Reading]:
    """Return all of them."""
    return {reading for readings in held_out().values() for reading in readings}


def diverse(
    rows: int, seed: int, rows_per_scene: int = 1, choices: ChoicesSection = WHOLE_CATALOGUE
) -> dict[Split, list[Example]]:
    """Compose the diversified set: `rows` training rows over the grid, held-out pairs as in the hand-written set.

    Args:
        rows: training rows.
        seed: the source of chance.
        rows_per_scene: so many neighbours have one park and season, and so the same beginning of a prompt.
        choices: how many sentences of a kind each reading has, as in `data/choice.py`.
    """
    rng = random.Random(seed)
    taken = held_out_readings()
    readings = _spread([reading for reading in usual_grid() if reading not in taken], rows, rng)
    composer = _Composer(rng, choices)
    starts = range(0, len(readings), rows_per_scene)
    train = [composer.rows(readings[start : start + rows_per_scene]) for start in starts]
    own = [[row] for advice in own_advices() for row in composer.own_rows(advice, taken)]
    return {
        "train": [row for neighbours in rng.sample(train + own, len(train) + len(own)) for row in neighbours],
        "validation": [composer.row(reading) for reading in held_out()["validation"]],
        "test": [composer.row(reading) for reading in held_out()["test"]],
    }


class _Composer:
    """Compose rows that are all different."""

    def __init__(self, rng: random.Random, choices: ChoicesSection) -> None:
        self._rng = rng
        self._choices = choices
        self._seen: set[tuple[Reading, str]] = set()

    def row(self, reading: Reading) -> Example:
        for _ in range(1000):
            if example := self._compose(reading, random_prompt_scene(self._rng)):
                return example
        raise CorpusError(f"No new wording is left for {reading}.", "Ask for fewer rows.")

    def rows(self, readings: list[Reading]) -> list[Example]:
        """Compose a row for each reading, in the first one's scene wherever a new message can be composed there."""
        first, *others = [self.row(reading) for reading in readings[:1]], *readings[1:]
        return first + [self._compose(reading, first[0].scene) or self.row(reading) for reading in others]

    def own_rows(self, advice: Sentence, taken: set[Reading]) -> list[Example]:
        """Compose rows with one of the operator's sentences, for readings and parks that it fits; fewer where few do.

        Raises:
            CorpusError: no message can be composed; the text gives the sentence's place, and why.
        """
        seasons = [Season(name) for name in sorted(advice.when.seasons)] or list(Season)
        fitting = [one for one in usual_grid() if one not in taken and advice.when.holds(one, seasons[0])]
        if not fitting:
            raise CorpusError(
                f"{advice.place}: {advice.text!r} fits no reading of the training set.", "Widen low, high or change."
            )
        found: list[Example] = []
        for _ in range(OWN_ROWS * 5):
            scene = random_scene(self._rng, self._rng.choice(seasons), filter(None, [advice.element]))
            if example := self._compose(self._rng.choice(fitting), scene, advice):
                found.append(example)
            if len(found) == OWN_ROWS:
                break
        if not found:
            compose(fitting[0], random_scene(self._rng, seasons[0], filter(None, [advice.element])), self._rng, advice)
        return found

    def _compose(self, reading: Reading, scene: Scene | None, advice: Sentence | None = None) -> Example | None:
        try:
            message = compose(reading, scene, self._rng, advice, choices=self._choices)
        except CorpusError:
            return None
        if (reading, message) in self._seen:
            return None
        self._seen.add((reading, message))
        return Example(reading, scene, message)


def _spread(readings: list[Reading], count: int, rng: random.Random) -> list[Reading]:
    """Pick readings evenly over today's temperature, with a share for unchanged days, or the model forgets them."""
    same = [reading for reading in readings if reading.change == 0]
    changed = [reading for reading in readings if reading.change]
    unchanged = round(count * NO_CHANGE_SHARE)
    picked = _evenly(same, unchanged, rng) + _evenly(changed, count - unchanged, rng)
    return rng.sample(picked, count)


def _evenly(readings: list[Reading], count: int, rng: random.Random) -> list[Reading]:
    """Deal readings round-robin over today's temperature, each once before any repeats."""
    picked: list[Reading] = []
    while len(picked) < count:
        by_today: dict[int, list[Reading]] = {}
        for reading in rng.sample(readings, len(readings)):
            by_today.setdefault(reading.today, []).append(reading)
        rounds = zip_longest(*rng.sample(list(by_today.values()), len(by_today)))
        picked += [reading for dealt in rounds for reading in dealt if reading]
    return picked[:count]


def all_examples(sets: dict[Split, list[Example]]) -> Iterator[tuple[Split, Example]]:
    """Yield every row with its split."""
    for split, rows in sets.items():
        for row in rows:
            yield split, row
