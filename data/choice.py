"""A choice of the catalogue: fewer sentences, so that a training set has each of them more often.

A model that nobody trained on these sentences needs many examples of each. The widest conditions come first: they leave
fewer borders between sentences to learn.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from core.catalogue import Condition, Sentence, advices, openings, own_advices
from core.reading import Reading, usual_grid
from data.scenes import ASKED

OF_AN_ELEMENT = 1  # second sentences that name one park element, for a reading: a park has many elements


@cache
def chosen_openings(choices: int | None) -> tuple[Sentence, ...]:
    """Return the first sentences; with `choices`, the widest, until each reading and season has so many."""
    return openings() if choices is None else _widest(openings(), lambda _: choices)


@cache
def chosen_advices(choices: int | None) -> tuple[Sentence, ...]:
    """Return the second sentences; with `choices`, the widest, until each reading and season has so many.

    So many about the temperature, and so many about the change; of each park element one about the temperature, none
    about the change. An operator's own sentences stay.
    """
    if choices is None:
        return advices()
    own = set(own_advices())

    def wanted(advice: Sentence) -> int:
        if advice.element:
            return 0 if advice.when.kind else OF_AN_ELEMENT
        return choices

    ours = [advice for advice in advices() if advice not in own]
    return _widest(ours, wanted) + own_advices()


def _widest(sentences: Iterable[Sentence], wanted: Callable[[Sentence], int]) -> tuple[Sentence, ...]:
    """Keep a sentence where some reading that it fits has fewer than wanted of its kind."""
    where = {sentence: list(_cases(sentence.when)) for sentence in sentences}
    have: Counter[tuple[str, str, Reading, str | None]] = Counter()
    kept = []
    for sentence in sorted(where, key=lambda one: -len(where[one])):
        cases = [(sentence.element, sentence.when.kind, *case) for case in where[sentence]]
        if any(have[case] < wanted(sentence) for case in cases):
            kept.append(sentence)
            have.update(cases)
    return tuple(kept)


@cache
def _by_today() -> dict[int, list[Reading]]:
    found: dict[int, list[Reading]] = {}
    for reading in usual_grid():
        found.setdefault(reading.today, []).append(reading)
    return found


def _cases(when: Condition) -> Iterator[tuple[Reading, str | None]]:
    """Yield the readings and seasons for which a condition holds."""
    for today in range(when.low, when.high + 1):
        for reading in _by_today().get(today, ()):
            yield from ((reading, season) for season in ASKED if when.holds(reading, season))
