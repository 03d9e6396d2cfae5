"""Check that the wording fits the temperature and the change, and which words the catalogue does not have.

Reads `words/sense.toml`: words with the °C range they may be used in, for sentences that are not in the catalogue.
"""

import re
from dataclasses import dataclass
from functools import cache

from core.catalogue import Condition, advices, openings, vocabulary, word_table, words_of
from core.problem import Finding, Problem
from core.reading import Reading
from core.sign import split_sentences

NUMBER = re.compile(r"\d+도")
NEAR = 1  # °C; what is right at 15 is not wrong at 14
FAR = 8  # °C; the catalogue's conditions say where a sentence is at its best
DIRECTIONS = frozenset({"rise", "fall", "same"})


@dataclass(frozen=True, slots=True)
class Band:
    """A range of today's temperature, °C, both ends included."""

    name: str
    low: int
    high: int


# The outer ends lie beyond every accepted reading, so each has a band.
BANDS = (
    Band("hot", 30, 60),
    Band("warm", 15, 29),
    Band("cool", 5, 14),
    Band("cold", -4, 4),
    Band("freezing", -50, -5),
)


@dataclass(frozen=True, slots=True)
class WordRange:
    """A word stem with its conditions: today's temperature range, the directions and the smallest size of a change.

    Temperatures and sizes in °C.
    """

    stem: str
    low: int
    high: int
    changes: frozenset[str]
    smallest: int

    def fits(self, reading: Reading) -> bool:
        """Return whether the word fits a reading."""
        return (
            self.low <= reading.today <= self.high
            and reading.direction in self.changes
            and abs(reading.change) >= self.smallest
        )

    def __str__(self) -> str:
        kinds = "" if self.changes == DIRECTIONS else f", {' or '.join(sorted(self.changes))}"
        size = f" of {self.smallest} °C or more" if self.smallest else ""
        return f"fits {self.low}…{self.high} °C{kinds}{size}"


def band_of(degrees: int) -> Band:
    """Return the band of a temperature in °C."""
    return next(band for band in BANDS if band.low <= degrees <= band.high)


@cache
def word_ranges(part: str) -> tuple[WordRange, ...]:
    """Return the word table of a part: `feel` (first sentence) or `activity` (second)."""
    return tuple(
        WordRange(
            stem,
            entry["min"],
            entry["max"],
            frozenset(entry.get("change", DIRECTIONS)),
            entry.get("size_min", 0),
        )
        for entry in word_table("sense")[part]
        for stem in entry["stems"]
    )


def check_sense(text: str, reading: Reading, season: str | None = None) -> list[Finding]:
    """Return what does not fit the reading.

    A sentence of the catalogue is judged by its own conditions: where they hold it fits, far from them it contradicts
    the reading, and between the two its use is unusual. Any other sentence is judged by its words.
    """
    first, *rest = split_sentences(text)
    found = []
    for part, sentence in (("feel", first), *(("activity", other) for other in rest)):
        when = condition_of(sentence)
        if when and when.holds(reading, season, NEAR):
            continue
        found += _misfits(part, sentence, reading)
        if when:
            near = when.low - FAR <= reading.today <= when.high + FAR and when.kind in ("", reading.direction)
            told = f"{sentence!r} at {reading.today} °C, change {reading.change:+d} °C, {season or 'no season'}"
            found.append(Finding(Problem.UNUSUAL if near else Problem.SENSE, told))
    return found


def condition_of(sentence: str) -> Condition | None:
    """Return when a sentence, with its number, may be said by the catalogue; None: the catalogue does not have it."""
    return _conditions().get(NUMBER.sub("{n}도", sentence))


@cache
def _conditions() -> dict[str, Condition]:
    return {sentence.text: sentence.when for sentence in openings() + advices()}


def check_vocabulary(text: str) -> list[Finding]:
    """Return the words that the catalogue does not have."""
    return [Finding(Problem.UNKNOWN, word) for word in words_of(text) if word not in vocabulary()]


def _misfits(part: str, text: str, reading: Reading) -> list[Finding]:
    return [
        Finding(Problem.SENSE, f"{word.stem} at {reading.today} °C, change {reading.change:+d} °C ({word})")
        for word in word_ranges(part)
        if word.stem in text and not word.fits(reading)
    ]
