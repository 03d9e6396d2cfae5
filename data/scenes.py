"""Scenes for training and evaluation: random parks in every season, and the plain prompt without one."""

import random
from collections.abc import Iterable, Iterator
from typing import Any

from core.catalogue import elements
from core.park import EVERYWHERE, Scene
from core.reading import Reading, usual_grid
from core.season import Season

USUAL_SHARE = 0.5
PLAIN_SHARE = 0.2  # of the training prompts: the original's, without a scene
ASKED: tuple[Season | None, ...] = (*Season, None)  # the seasons of five rounds; None: the plain prompt


def random_scene(
    rng: random.Random, season: Season | None = None, include: Iterable[str] = (), usual: float = USUAL_SHARE
) -> Scene:
    """Return a park with a random number of elements.

    Args:
        rng: the source of chance.
        season: None: any.
        include: elements that it has in any case.
        usual: how often it gets each of the elements that every park has, if it was not drawn.
    """
    names = rng.sample(elements(), rng.randint(1, len(elements())))
    names += [name for name in EVERYWHERE if rng.random() < usual]
    return Scene.of(season or rng.choice(list(Season)), {*names, *include})


def random_prompt_scene(rng: random.Random) -> Scene | None:
    """Return a random scene, or None for the plain prompt."""
    return None if rng.random() < PLAIN_SHARE else random_scene(rng)


def scene_of(line: dict[str, Any]) -> Scene | None:
    """Return the scene of a line of answers.jsonl.

    Raises:
        ParkError, KeyError, TypeError: the line is none.
    """
    return Scene.of(line["season"], line["elements"]) if line["season"] else None


def cases(rounds: int, every: int = 1) -> Iterator[tuple[int, Reading, Scene | None]]:
    """Yield round, reading and scene: five rounds ask each reading in every season, in random parks, and plainly.

    Args:
        rounds: passes over the grid of usual readings.
        every: only every Nth reading.
    """
    for number in range(rounds):
        rng = random.Random(number)
        for reading in list(usual_grid())[::every]:
            # Every temperature of today meets all seasons in each round, and every reading in five rounds.
            season = ASKED[(reading.today + 2 * reading.yesterday + number) % len(ASKED)]
            yield number, reading, random_scene(rng, season) if season else None
