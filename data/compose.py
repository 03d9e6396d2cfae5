"""Compose training messages from the catalogue: a first sentence and a second one that both fit reading and scene.

A program may compose training data, but never the board's text. Only the training set's builders call this.
"""

import itertools
import random
from functools import lru_cache

from core.catalogue import Sentence, words_of
from core.checks import check_message
from core.errors import CorpusError
from core.park import Scene, elements_of, season_of
from core.reading import Reading
from data.choice import chosen_advices, chosen_openings, well_inside
from pipeline.recipe import WHOLE_CATALOGUE, ChoicesSection

TRIES = 200  # combinations, before composing gives up
BOUND_TRIES = 20  # of them with a sentence bound to the scene
ABOUT_THE_CHANGE = 0.4  # share of the advice that speaks of the change
EACH = 0.03  # the most that one such sentence gets, where there are few
OFTEN = frozenset({"기온", "어제", "오늘"})  # words that both sentences may have


def compose(
    reading: Reading,
    scene: Scene | None,
    rng: random.Random,
    advice: Sentence | None = None,
    bound: float = 0.0,
    choices: ChoicesSection = WHOLE_CATALOGUE,
) -> str:
    """Compose one message that passes every check; the random generator picks the sentences.

    Args:
        reading: yesterday's and today's temperature.
        scene: season and park, or None for the plain prompt.
        rng: the source of chance.
        advice: the second sentence, if it is chosen already.
        bound: share of the second sentences, and half as many of the first, that only this season or park allows, where
            there are some; 0: as many as chance gives.
        choices: how many sentences of a kind each reading has, as in `data/choice.py`.

    Raises:
        CorpusError: no two sentences of the catalogue go together here, or none goes with the given advice.
    """
    found: list[str] = []
    firsts = rng.sample(fitting := openings_for(reading, season_of(scene), choices), len(fitting))
    if bound and rng.random() < bound / 2:
        firsts.sort(key=lambda first: not first.when.seasons)
    for tried, first in enumerate(itertools.islice(itertools.cycle(firsts), len(firsts) if advice else TRIES)):
        # After a sudden change the advice must speak of it, which none of the bound sentences may do.
        second = advice or pick_advice(reading, scene, rng, bound if tried < BOUND_TRIES else 0, choices)
        found = faults(first, second, reading, scene)
        if not found:
            return joined(first, second, reading)
    place = f"{advice.place}: {advice.text!r}" if advice else "The catalogue"
    raise CorpusError(
        f"{place} gives no message for {reading.yesterday} → {reading.today} °C"
        + (f": {'; '.join(found)}." if found else "."),
        "Change its words or its conditions, or add sentences for this reading.",
    )


def joined(first: Sentence, second: Sentence, reading: Reading) -> str:
    """Return the message of two sentences."""
    return f"{first.about(reading)} {second.text}"


def faults(first: Sentence, second: Sentence, reading: Reading, scene: Scene | None) -> list[str]:
    """Return why two sentences are no message; empty: they are one."""
    found = check_message(joined(first, second, reading), reading, scene)
    echo = ["both sentences have a word that begins alike"] if echoes(first.text, second.text) else []
    return [f"{one.problem}: {one.detail}" for one in found] + echo


def opening(reading: Reading, scene: Scene | None, rng: random.Random) -> str:
    """Pick a first sentence, such as 어제보다 10도 올라 포근해졌습니다."""
    fitting = openings_for(reading, season_of(scene))
    if not fitting:
        raise CorpusError(
            f"No first sentence fits {reading.yesterday} → {reading.today} °C.", "Add one to core/words/openings.tsv."
        )
    return rng.choice(fitting).about(reading)


def pick_advice(
    reading: Reading,
    scene: Scene | None,
    rng: random.Random,
    bound: float = 0.0,
    choices: ChoicesSection = WHOLE_CATALOGUE,
) -> Sentence:
    """Pick a second sentence, often one about the change; a share of them bound to this season or park."""
    fitting = advices_for(reading, scene, choices)
    if not fitting:
        raise CorpusError(f"No advice fits {reading.today} °C in {scene}.", "Add some to core/words/advice.tsv.")
    here = [advice for advice in fitting if advice.element or advice.when.seasons]
    if bound and here and rng.random() < bound:
        return rng.choice(here)
    about = [advice for advice in fitting if advice.when.kind]
    return rng.choice(about if rng.random() < min(ABOUT_THE_CHANGE, EACH * len(about)) else fitting)


@lru_cache(maxsize=50_000)
def openings_for(
    reading: Reading, season: str | None, choices: ChoicesSection = WHOLE_CATALOGUE
) -> tuple[Sentence, ...]:
    """Return the first sentences that fit."""
    fitting = tuple(sentence for sentence in chosen_openings(choices) if sentence.when.holds(reading, season))
    return well_inside(fitting, reading, choices)


def advices_for(reading: Reading, scene: Scene | None, choices: ChoicesSection = WHOLE_CATALOGUE) -> list[Sentence]:
    """Return the second sentences that fit reading, season and park."""
    here = {"", *elements_of(scene)}
    return [advice for advice in advices_at(reading, season_of(scene), choices) if advice.element in here]


@lru_cache(maxsize=50_000)
def advices_at(reading: Reading, season: str | None, choices: ChoicesSection = WHOLE_CATALOGUE) -> tuple[Sentence, ...]:
    """Return the second sentences that fit reading and season, in whatever park."""
    fitting = tuple(sentence for sentence in chosen_advices(choices) if sentence.when.holds(reading, season))
    return well_inside(fitting, reading, choices)


def echoes(first: str, second: str) -> bool:
    """Return whether two sentences share the beginning of a word, which reads like a slip of the pen."""
    heads = ({word[:2] for word in words_of(sentence) if len(word) > 1} for sentence in (first, second))
    return bool(set.intersection(*heads) - OFTEN)
