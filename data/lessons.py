"""Lessons: short rows before the messages, for a base that cannot subtract and knows no sentence of the catalogue.

Three kinds. A bare row is the shortest text in which the difference can be learned: `12 7 =` → `5 down`. A beginning is
a message under the plain prompt that ends right after its number and direction: `어제보다 5도 내려가`. Parts are what
the model must decide in a message, one by one: several first sentences, and after one of them the first words of
several second ones, as many as tell them apart. A program may compose training data, but never the board's text.
"""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from core.catalogue import Sentence
from core.park import Scene, season_of
from core.prompt import Message, build_messages
from core.reading import Reading, usual_grid
from data.choice import chosen_advices
from data.compose import faults, openings_for, pick_advice
from data.scenes import random_prompt_scene
from pipeline.recipe import WHOLE_CATALOGUE, ChoicesSection, LessonsSection

BARE = {"rise": "up", "fall": "down", "same": "same"}
NUMBER = re.compile(r"\d+도\S*")
NEIGHBOURS = 8  # readings with one yesterday, and parts in one park and season
FIRSTS = 3  # parts that are a first sentence, at most
SECONDS = 10  # parts that follow one first sentence, at most
TRIES = 3  # picks for each of them
WORDS = 3  # of a beginning without a number


@dataclass(frozen=True, slots=True)
class Lesson:
    """One short row: its prompt is a text, or messages for the chat template; its completion ends no turn.

    If the last message is the assistant's, the completion goes on from there.
    """

    reading: Reading
    prompt: str | list[Message]
    completion: str

    def as_conversation(self) -> dict[str, Any]:
        """Return the row as prompt/completion."""
        return {"prompt": self.prompt, "completion": self.completion}


def lessons(
    wanted: LessonsSection, held_out: set[Reading], seed: int, choices: ChoicesSection = WHOLE_CATALOGUE
) -> list[Lesson]:
    """Return bare rows, beginnings, then parts, each kind evenly over the grid without the held-out readings.

    `choices`: how many sentences of a kind each reading has, as in `data/choice.py`.
    """
    rng = random.Random(seed)
    readings = [reading for reading in usual_grid() if reading not in held_out]
    found = [bare_lesson(reading) for reading in _dealt(readings, wanted.bare, rng)]
    found += [beginning_lesson(reading, rng, choices) for reading in _dealt(readings, wanted.beginnings, rng)]
    for _, neighbours in itertools.groupby(_dealt(readings, wanted.parts, rng), lambda reading: reading.yesterday):
        scene = random_prompt_scene(rng)
        found += [part for reading in neighbours for part in parts_of(reading, scene, rng, choices)]
    return found


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


def beginning_lesson(reading: Reading, rng: random.Random, choices: ChoicesSection = WHOLE_CATALOGUE) -> Lesson:
    """Return a message's first words, up to the one after its number."""
    first = rng.choice(openings_for(reading, None, choices))
    words = first.about(reading).split()
    last = next((place for place, word in enumerate(words, 2) if NUMBER.match(word)), WORDS)
    return Lesson(reading, build_messages(reading), " ".join(words[:last]))


def parts_of(
    reading: Reading, scene: Scene | None, rng: random.Random, choices: ChoicesSection = WHOLE_CATALOGUE
) -> list[Lesson]:
    """Return a reading's parts: first sentences, and second ones that may follow one of them."""
    talk = build_messages(reading, scene)
    fitting = openings_for(reading, season_of(scene), choices)
    firsts = rng.sample(fitting, min(FIRSTS, len(fitting)))
    picked = dict.fromkeys(pick_advice(reading, scene, rng, choices=choices) for _ in range(SECONDS * TRIES))
    seconds = (second for second in picked if not faults(firsts[0], second, reading, scene))
    said = [first.about(reading) for first in firsts]
    return [
        *(Lesson(reading, talk, first) for first in said),
        *(going_on(reading, talk, said[0], told_apart(one, choices)) for one in itertools.islice(seconds, SECONDS)),
    ]


def told_apart(advice: Sentence, choices: ChoicesSection = WHOLE_CATALOGUE) -> str:
    """Return a second sentence's first words, as many as no other one begins with."""
    return next((words for words in _starts(advice.text) if _shared_starts(choices)[words] == 1), advice.text)


@cache
def _shared_starts(choices: ChoicesSection) -> Counter[str]:
    return Counter(words for advice in chosen_advices(choices) for words in _starts(advice.text))


def _starts(text: str) -> Iterator[str]:
    """Yield a text's first word, its first two, and so on."""
    return itertools.accumulate(text.split(), "{} {}".format)


def going_on(reading: Reading, talk: list[Message], said: str, completion: str) -> Lesson:
    """Return a lesson whose answer has begun; a space parts what is said from what is learned."""
    return Lesson(reading, [*talk, {"role": "assistant", "content": said}], f" {completion}" if completion else "")
