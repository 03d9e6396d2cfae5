"""Lessons: short rows that teach the subtraction before the messages, for a base that cannot subtract.

Two kinds. A bare row is the shortest text in which the difference can be learned: `12 7 =` → `5 down`. A beginning is
a message under the plain prompt that ends right after its number and direction: `어제보다 5도 내려가`. A program may
compose training data, but never the board's text.
"""

import random
import re
from dataclasses import dataclass
from typing import Any

from core.prompt import Message, build_messages
from core.reading import Reading, usual_grid
from data.compose import openings_for

BARE = {"rise": "up", "fall": "down", "same": "same"}
NUMBER = re.compile(r"\d+도\S*")
NEIGHBOURS = 8  # readings with one yesterday
WORDS = 3  # of a beginning without a number


@dataclass(frozen=True, slots=True)
class Lesson:
    """One short row: its prompt is a text, or messages for the chat template; its completion ends no turn."""

    reading: Reading
    prompt: str | list[Message]
    completion: str

    def as_conversation(self) -> dict[str, Any]:
        """Return the row as prompt/completion."""
        return {"prompt": self.prompt, "completion": self.completion}


def lessons(bare: int, beginnings: int, held_out: set[Reading], seed: int, choices: int | None = None) -> list[Lesson]:
    """Return bare rows, then beginnings, each kind evenly over the grid without the held-out readings.

    `choices`: how many openings each reading has, as in `data/choice.py`; None: all.
    """
    rng = random.Random(seed)
    readings = [reading for reading in usual_grid() if reading not in held_out]
    return [
        *(bare_lesson(reading) for reading in _dealt(readings, bare, rng)),
        *(beginning_lesson(reading, rng, choices) for reading in _dealt(readings, beginnings, rng)),
    ]


def _dealt(readings: list[Reading], count: int, rng: random.Random) -> list[Reading]:
    """Return `count` readings, each once before any repeats; neighbours have one yesterday, so packed they share it."""
    dealt: list[Reading] = []
    while len(dealt) < count:
        by_yesterday: dict[int, list[Reading]] = {}
        for reading in rng.sample(readings, len(readings)):
            by_yesterday.setdefault(reading.yesterday, []).append(reading)
        groups = [
            found[start : start + NEIGHBOURS]
            for found in by_yesterday.values()
            for start in range(0, len(found), NEIGHBOURS)
        ]
        dealt += [reading for group in rng.sample(groups, len(groups)) for reading in group]
    return dealt[:count]


def bare_lesson(reading: Reading) -> Lesson:
    """Return the shortest row with this difference."""
    return Lesson(
        reading, f"{reading.yesterday} {reading.today} =", f"{abs(reading.change)} {BARE[reading.direction]}\n"
    )


def beginning_lesson(reading: Reading, rng: random.Random, choices: int | None = None) -> Lesson:
    """Return a message's first words, up to the one after its number."""
    first = rng.choice(openings_for(reading, None, choices)).text.format(n=abs(reading.change))
    words = first.split()
    last = next((place for place, word in enumerate(words, 2) if NUMBER.match(word)), WORDS)
    return Lesson(reading, build_messages(reading), " ".join(words[:last]))
