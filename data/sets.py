"""The two training sets: "large" (340 hand-written rows) and "diverse" (composed), each in the same three splits.

The splits are disjoint by input pair, and the pairs held out of one set are held out of the other.
"""

import csv
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any, Literal, cast

from core.errors import CorpusError
from core.prompt import build_messages
from core.reading import Reading, usual_grid
from core.sense import Activity
from data.compose import CORPUS, activities_for, compose

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
HANDWRITTEN = CORPUS / "handwritten.tsv"
NO_CHANGE_SHARE = 0.1  # of the diversified rows, as in the hand-written set; on the grid it is 0.024


@dataclass(frozen=True, slots=True)
class Example:
    """One training example."""

    reading: Reading
    message: str

    def as_conversation(self) -> dict[str, Any]:
        """Return the row as TRL's conversational prompt/completion."""
        return {
            "prompt": build_messages(self.reading),
            "completion": [{"role": "assistant", "content": self.message}],
        }


def training_sets(name: str, rows: int, seed: int) -> dict[Split, list[Example]]:
    """Return the three splits of a set; `rows` is the number of training rows.

    Raises:
        CorpusError: the set has fewer rows than requested.
    """
    if name == "diverse":
        return diverse(rows, seed)
    sets = handwritten()
    if rows > len(sets["train"]):
        raise CorpusError(
            f"The hand-written set has {len(sets['train'])} training rows, not {rows}.",
            "Use data.set=diverse for more.",
        )
    return sets | {"train": sets["train"][:rows]}


@cache
def _handwritten() -> tuple[tuple[Split, Example], ...]:
    with HANDWRITTEN.open(encoding="utf-8", newline="") as file:
        return tuple(
            (
                cast(Split, entry["split"]),
                Example(Reading.of(int(entry["yesterday"]), int(entry["today"])), entry["message"]),
            )
            for entry in csv.DictReader(file, delimiter="\t")
        )


def handwritten() -> dict[Split, list[Example]]:
    """Return the 340 hand-written rows by split (302, 15, 23)."""
    return {split: [row for name, row in _handwritten() if name == split] for split in SPLITS}


def diverse(rows: int, seed: int) -> dict[Split, list[Example]]:
    """Compose the diversified set: `rows` training rows over the grid, held-out pairs as in the hand-written set."""
    rng = random.Random(seed)
    held_out = {split: [row.reading for row in handwritten()[split]] for split in ("validation", "test")}
    taken = {reading for readings in held_out.values() for reading in readings}
    readings = _spread([reading for reading in usual_grid() if reading not in taken], rows, rng)
    deck = _Deck(rng)
    return {
        "train": _compose_all(readings, deck, rng),
        "validation": _compose_all(held_out["validation"], deck, rng),
        "test": _compose_all(held_out["test"], deck, rng),
    }


class _Deck:
    """Deal activities like cards: within a band, none repeats before all others were dealt."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._cards: dict[str, list[Activity]] = {}

    def deal(self, reading: Reading) -> Activity:
        activities = activities_for(reading)
        cards = self._cards.setdefault(activities[0].band.name, [])
        if not cards:
            cards.extend(self._rng.sample(activities, len(activities)))
        return cards.pop()


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


def _compose_all(readings: list[Reading], deck: _Deck, rng: random.Random) -> list[Example]:
    seen: Counter[tuple[Reading, str]] = Counter()
    return [_new_row(reading, deck, rng, seen) for reading in readings]


def _new_row(reading: Reading, deck: _Deck, rng: random.Random, seen: Counter[tuple[Reading, str]]) -> Example:
    for _ in range(1000):
        message = compose(reading, rng, deck.deal(reading))
        seen[reading, message] += 1
        if seen[reading, message] == 1:
            return Example(reading, message)
    raise CorpusError(f"No new wording is left for {reading}.", "Ask for fewer rows.")


def all_examples(sets: dict[Split, list[Example]]) -> Iterator[tuple[Split, Example]]:
    """Yield every row with its split."""
    for split, rows in sets.items():
        for row in rows:
            yield split, row
