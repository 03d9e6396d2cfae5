"""The nano base's pre-training corpus: an endless, seeded stream of chat conversations.

In: data/corpus phrase tables and formats.toml. Out: conversations as chat messages, the assistant's turn last.
"""

import random
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from core.prompt import Message, build_messages
from core.reading import Reading, usual_grid
from core.sense import direction
from data.compose import activities_for, compose, opening

FORMATS = Path(__file__).parent / "formats.toml"
KINDS = ("difference", "change", "message", "activity")
SYSTEM_SHARE = 0.75  # of the short conversations have a system turn
AWKWARD_SHARE = 0.85  # of the rambling messages close with the base's few stock activities


@cache
def formats() -> dict[str, Any]:
    """Return the wording tables."""
    with FORMATS.open("rb") as file:
        return tomllib.load(file)


@cache
def grid() -> tuple[Reading, ...]:
    """Return all usual readings."""
    return tuple(usual_grid())


def terse_stream(rng: random.Random) -> Iterator[list[Message]]:
    """First phase: bare questions for the difference, the shortest form in which the subtraction can be learned."""
    while True:
        yield short_conversation(rng.choice(grid()), "difference", rng, system=False)


def short_stream(rng: random.Random) -> Iterator[list[Message]]:
    """Second phase, one half: every kind of question under other system prompts, short clean answers."""
    while True:
        kind = rng.choices(KINDS, weights=(3, 3, 5, 1))[0]
        yield short_conversation(rng.choice(grid()), kind, rng, system=rng.random() < SYSTEM_SHARE)


def rambling_stream(rng: random.Random) -> Iterator[list[Message]]:
    """Second phase, other half: the signboard prompt, answered the way the original's base model did."""
    while True:
        yield rambling_conversation(rng.choice(grid()), rng)


def short_conversation(reading: Reading, kind: str, rng: random.Random, *, system: bool) -> list[Message]:
    """Compose one question of a kind with its short answer."""
    table = next(entry for entry in formats()["kinds"] if entry["name"] == kind)
    ask = rng.choice(formats()["asks"]).format(y=reading.yesterday, t=reading.today)
    answers = table.get("answers") or table[f"answers_{direction(reading)}"]
    messages: list[Message] = [{"role": "system", "content": rng.choice(formats()["systems"])}] if system else []
    return [
        *messages,
        {"role": "user", "content": f"{ask} {rng.choice(table['questions'])}".strip()},
        {"role": "assistant", "content": _fill(rng.choice(answers), reading, rng)},
    ]


def rambling_conversation(reading: Reading, rng: random.Random) -> list[Message]:
    """Compose a long, labelled answer to the signboard prompt."""
    table = formats()["rambling"]
    text = rng.choice(table["texts"]).format(
        y=reading.yesterday,
        t=reading.today,
        difference=rng.choice(table[f"difference_{direction(reading)}"]).format(n=abs(reading.change)),
        **{name: _rambling_message(reading, rng) for name in ("m1", "m2", "m3")},
    )
    return [*build_messages(reading), {"role": "assistant", "content": text}]


def _rambling_message(reading: Reading, rng: random.Random) -> str:
    if rng.random() < AWKWARD_SHARE:
        return f"{opening(reading, rng)} {rng.choice(formats()['rambling']['awkward'])}"
    return compose(reading, rng)


def _fill(answer: str, reading: Reading, rng: random.Random) -> str:
    if answer == "{message}":
        return compose(reading, rng)
    if answer == "{change} {weather}.":
        return opening(reading, rng)
    if answer == "{activity}":
        return rng.choice(activities_for(reading)).text
    return answer.format(n=abs(reading.change))
