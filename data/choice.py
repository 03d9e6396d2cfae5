"""A choice of the catalogue: fewer sentences, so that a training set has each of them more often.

A model that nobody trained on these sentences needs many examples of each. The widest conditions come first: they leave
fewer borders between sentences to learn.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from core.catalogue import ANY_SIZE, Condition, Sentence, advices, openings, own_advices
from core.reading import Reading, usual_grid
from data.scenes import ASKED
from pipeline.recipe import ChoicesSection

OF_AN_ELEMENT = 1  # second sentences that name one park element, for a reading: a park has many elements


@cache
def chosen_openings(choices: ChoicesSection) -> tuple[Sentence, ...]:
    """Return the first sentences; with `choices`, the widest, until each reading and season has so many."""
    each = choices.each
    return _widest(openings(), lambda _: each) if each else openings()


@cache
def chosen_advices(choices: ChoicesSection) -> tuple[Sentence, ...]:
    """Return the second sentences; with `choices`, the widest, until each reading and season has so many.

    So many about the temperature, and so many about the change; of each park element one about the temperature, none
    about the change. An operator's own sentences stay.
    """
    each = choices.each
    if not each:
        return advices()
    own = set(own_advices())

    def wanted(advice: Sentence) -> int:
        if advice.element:
            return 0 if advice.when.kind else OF_AN_ELEMENT
        return each

    ours = [advice for advice in advices() if advice not in own]
    return _widest(ours, wanted) + own_advices()


def well_inside(sentences: Iterable[Sentence], reading: Reading, choices: ChoicesSection) -> tuple[Sentence, ...]:
    """Keep those in whose ranges a reading lies `margin` deep; where few of a kind do, the deepest ones.

    A model that misses a range by a few degrees then still says what fits. An operator's own sentences stay.
    """
    if not choices.margin:
        return tuple(sentences)
    own, kinds = set(own_advices()), defaultdict[tuple[str, str], list[Sentence]](list)
    for sentence in sentences:
        kinds[sentence.element, sentence.when.kind].append(sentence)
    kept: set[Sentence] = set()
    for (element, _), alike in kinds.items():
        deep = [one for one in alike if one in own or depth(one.when, reading) >= choices.margin]
        least = 0 if element else choices.each or 1
        kept.update(deep if len(deep) >= least else sorted(alike, key=lambda one: -depth(one.when, reading))[:least])
    return tuple(sentence for sentence in sentences if sentence in kept)


def depth(when: Condition, reading: Reading) -> int:
    """Return by how many °C today and the change lie inside a condition's ranges; the usual grid's ends are no ends."""
    coldest, hottest, largest = _ends()
    size = abs(reading.change)
    distances = (
        (reading.today - when.low, when.low > coldest),
        (when.high - reading.today, when.high < hottest),
        (size - when.smallest, when.smallest > 1),
        (when.largest - size, when.largest < largest),
    )
    return min((distance for distance, counts in distances if counts), default=ANY_SIZE)


@cache
def _ends() -> tuple[int, int, int]:
    grid = list(usual_grid())
    return (
        min(reading.today for reading in grid),
        max(reading.today for reading in grid),
        max(abs(reading.change) for reading in grid),
    )


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
