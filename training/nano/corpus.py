"""The nano base's pre-training corpus: an endless, seeded stream of chat conversations.

In: the catalogue (core/words) and formats.toml. Out: conversations as chat messages, the assistant's turn last.
"""

import random
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from core.park import Scene
from core.prompt import Message, build_messages
from core.reading import Reading, usual_grid
from data.compose import compose, opening, pick_advice
from data.scenes import random_prompt_scene, random_scene

FORMATS = Path(__file__).parent / "formats.toml"
KINDS = ("difference", "change", "message", "advice")
WEIGHTS = (3, 1, 10, 1)  # how often each is asked
PARK_WEIGHTS = (2, 0, 12, 8)
LAST_WEIGHTS = (2, 1, 16, 1)
# Shares of the second and of the last phase's sentences that only this season or park allows; of the third's: all.
BOUND, LAST_BOUND = 0.3, 0.1
ANSWERS, LAST_RAMBLINGS = 3, 2  # of one conversation, each worded anew: the prompt is computed once for all
ABOUT_THE_PARK = ("message", "advice")
SYSTEM_SHARE = 0.75  # of the short conversations have a system turn
AWKWARD_SHARE = 0.85  # of the rambling messages close with one of the base's few stock phrases
# In the last phase, or under the signboard prompt the model hardly reads what is in the park: of the rambling messages
LAST_AWKWARD_SHARE, LAST_RAMBLING_BOUND = 0.15, 0.5
NEAR_ZERO, NEAR_ZERO_SHARE = 3, 0.05  # °C; of the readings: subtraction is hardest where the sign changes


@cache
def formats() -> dict[str, Any]:
    """Return the wording tables."""
    with FORMATS.open("rb") as file:
        return tomllib.load(file)


@cache
def grid() -> tuple[Reading, ...]:
    """Return all usual readings."""
    return tuple(usual_grid())


@cache
def _near_zero() -> tuple[Reading, ...]:
    return tuple(one for one in grid() if max(abs(one.yesterday), abs(one.today)) <= NEAR_ZERO)


def _reading(rng: random.Random) -> Reading:
    return rng.choice(_near_zero() if rng.random() < NEAR_ZERO_SHARE else grid())


def terse_stream(rng: random.Random) -> Iterator[list[Message]]:
    """First phase: bare questions for the difference, the shortest form in which the subtraction can be learned."""
    while True:
        yield short_conversation(_reading(rng), None, "difference", rng, system=False)


def short_stream(rng: random.Random) -> Iterator[list[Message]]:
    """Second phase, one half: every kind of question under other system prompts, short clean answers."""
    while True:
        yield _question(rng.choices(KINDS, weights=WEIGHTS)[0], rng, BOUND)


def park_stream(rng: random.Random) -> Iterator[list[Message]]:
    """Third phase: sentences that only this park or season allows, or the model learns how likely an element is."""
    while True:
        yield _question(rng.choices(KINDS, weights=PARK_WEIGHTS)[0], rng, 1.0, even=True)


def message_stream(rng: random.Random) -> Iterator[list[Message]]:
    """Last phase: mostly whole messages, so that the model learns what fits which park, season and temperature."""
    while True:
        yield _question(rng.choices(KINDS, weights=LAST_WEIGHTS)[0], rng, LAST_BOUND, even=True)


def scene_for(kind: str, rng: random.Random, *, even: bool = False) -> Scene | None:
    """Return the scene that a kind of question tells: none, or any and the plain prompt.

    `even`: a path and benches are no likelier than the rest, or a small model names them wherever there is a list.
    """
    if kind not in ABOUT_THE_PARK:
        return None
    scene = random_prompt_scene(rng)
    return random_scene(rng, usual=0) if scene and even else scene


def _question(kind: str, rng: random.Random, bound: float = 0.0, *, even: bool = False) -> list[Message]:
    scene = scene_for(kind, rng, even=even)
    bound = bound if scene or not even else 0.0  # without a list only a path and benches could be bound
    system = rng.random() < SYSTEM_SHARE
    return short_conversation(_reading(rng), scene, kind, rng, system=system, bound=bound, answers=ANSWERS)


def rambling_stream(rng: random.Random) -> Iterator[list[Message]]:
    """Second phase, other half: the signboard prompt, answered the way the original's base model did."""
    while True:
        yield rambling_conversation(_reading(rng), random_prompt_scene(rng), rng)


def last_rambling_stream(rng: random.Random) -> Iterator[list[Message]]:
    """Last phase, the other part: the same with fewer stock phrases, and more about the park."""
    while True:
        scene = scene_for("message", rng, even=True)
        bound = LAST_RAMBLING_BOUND if scene else 0.0
        yield rambling_conversation(_reading(rng), scene, rng, LAST_AWKWARD_SHARE, bound, answers=LAST_RAMBLINGS)


def short_conversation(
    reading: Reading,
    scene: Scene | None,
    kind: str,
    rng: random.Random,
    *,
    system: bool,
    bound: float = 0.0,
    answers: int = 1,
) -> list[Message]:
    """Compose one question of a kind with short answers to choose from; `bound` as for `compose`."""
    table = next(entry for entry in formats()["kinds"] if entry["name"] == kind)
    ask = rng.choice(formats()["asks"]).format(y=reading.yesterday, t=reading.today)
    if scene:
        ask = f"{rng.choice(formats()['places']).format(season=scene.season, elements=', '.join(scene.elements))} {ask}"
    known = table.get("answers") or table[f"answers_{reading.direction}"]
    messages: list[Message] = [{"role": "system", "content": rng.choice(formats()["systems"])}] if system else []
    return [
        *messages,
        {"role": "user", "content": f"{ask} {rng.choice(table['questions'])}".strip()},
        *_answers(_fill(rng.choice(known), reading, scene, rng, bound) for _ in range(answers)),
    ]


def rambling_conversation(
    reading: Reading,
    scene: Scene | None,
    rng: random.Random,
    awkward: float = AWKWARD_SHARE,
    bound: float = 0.0,
    answers: int = 1,
) -> list[Message]:
    """Compose long, labelled answers to the signboard prompt; `awkward`: share of messages with a stock phrase."""
    texts = (_rambling(reading, scene, rng, awkward, bound) for _ in range(answers))
    return [*build_messages(reading, scene), *_answers(texts)]


def _answers(texts: Iterable[str]) -> list[Message]:
    return [{"role": "assistant", "content": text} for text in texts]


def _rambling(reading: Reading, scene: Scene | None, rng: random.Random, awkward: float, bound: float) -> str:
    table = formats()["rambling"]
    text: str = rng.choice(table["texts"])
    return text.format(
        y=reading.yesterday,
        t=reading.today,
        difference=rng.choice(table[f"difference_{reading.direction}"]).format(n=abs(reading.change)),
        **{name: _rambling_message(reading, scene, rng, awkward, bound) for name in ("m1", "m2", "m3")},
    )


def _rambling_message(reading: Reading, scene: Scene | None, rng: random.Random, awkward: float, bound: float) -> str:
    if rng.random() < awkward:
        return f"{opening(reading, scene, rng)} {rng.choice(formats()['rambling']['awkward'])}"
    return compose(reading, scene, rng, bound=bound)


def _fill(answer: str, reading: Reading, scene: Scene | None, rng: random.Random, bound: float) -> str:
    if answer == "{message}":
        return compose(reading, scene, rng, bound=bound)
    if answer == "{opening}":
        return opening(reading, scene, rng)
    if answer == "{advice}":
        return pick_advice(reading, scene, rng, bound).text
    return answer.format(n=abs(reading.change))
