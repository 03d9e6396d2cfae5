"""Check that the wording fits the temperature: word ranges and the activity catalogue.

Reads `words/sense.toml` (words with the °C range they may be used in) and `words/activities.tsv` (activities by
temperature band).
"""

import csv
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.problem import Finding, Problem
from core.reading import Reading
from core.sign import split_sentences

WORDS = Path(__file__).parent / "words"
DIRECTIONS = frozenset({"rise", "fall", "same"})
BAND_TOLERANCE = 1  # °C; a picnic that is right at 15 is not wrong at 14


@dataclass(frozen=True, slots=True)
class Band:
    """A range of today's temperature, °C, both ends included."""

    name: str
    low: int
    high: int

    def holds(self, degrees: int, tolerance: int = 0) -> bool:
        """Return whether a temperature lies in the band, widened by `tolerance` °C."""
        return self.low - tolerance <= degrees <= self.high + tolerance


# The outer ends lie beyond every accepted reading, so each has a band.
BANDS = (
    Band("hot", 30, 60),
    Band("warm", 15, 29),
    Band("cool", 5, 14),
    Band("cold", -4, 4),
    Band("freezing", -50, -5),
)


@dataclass(frozen=True, slots=True)
class Activity:
    """One activity sentence of the catalogue."""

    band: Band
    element: str
    text: str


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
            and direction(reading) in self.changes
            and abs(reading.change) >= self.smallest
        )

    def __str__(self) -> str:
        kinds = "" if self.changes == DIRECTIONS else f", {' or '.join(sorted(self.changes))}"
        size = f" of {self.smallest} °C or more" if self.smallest else ""
        return f"fits {self.low}…{self.high} °C{kinds}{size}"


def direction(reading: Reading) -> str:
    """Return `rise`, `fall` or `same`."""
    return "rise" if reading.change > 0 else "fall" if reading.change < 0 else "same"


def band_of(degrees: int) -> Band:
    """Return the band of a temperature in °C."""
    return next(band for band in BANDS if band.holds(degrees))


@cache
def activities() -> tuple[Activity, ...]:
    """Return the activity catalogue."""
    by_name = {band.name: band for band in BANDS}
    with (WORDS / "activities.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return tuple(Activity(by_name[row["band"]], row["element"], row["text"]) for row in rows)


@cache
def park_elements() -> tuple[str, ...]:
    """Return the park elements of the catalogue, longest first so that the most specific one is found."""
    return tuple(sorted({activity.element for activity in activities()}, key=lambda name: (-len(name), name)))


@cache
def word_ranges(part: str) -> tuple[WordRange, ...]:
    """Return the word table of a part: `feel` (first sentence) or `activity` (second)."""
    with (WORDS / "sense.toml").open("rb") as file:
        entries = tomllib.load(file)[part]
    return tuple(
        WordRange(
            stem,
            entry["min"],
            entry["max"],
            frozenset(entry.get("change", DIRECTIONS)),
            entry.get("size_min", 0),
        )
        for entry in entries
        for stem in entry["stems"]
    )


def check_sense(text: str, reading: Reading) -> list[Finding]:
    """Return the words and activities that do not fit the reading, and the sentences without a known word."""
    feel, *rest = split_sentences(text)
    activity = " ".join(rest)
    found = [*_misfits("feel", feel, reading), *_misfits("activity", activity, reading)]
    if not _knows("feel", feel):
        found.append(Finding(Problem.SENSE, f"no known weather word: {feel}"))
    if not (_knows("activity", activity) or elements_in(activity)):
        found.append(Finding(Problem.SENSE, f"no known activity or park element: {activity}"))
    known = _catalogue()
    return found + [
        Finding(Problem.SENSE, f"{sentence!r} at {reading.today} °C")
        for sentence in rest
        if sentence in known and not any(band.holds(reading.today, BAND_TOLERANCE) for band in known[sentence])
    ]


def elements_in(text: str) -> set[str]:
    """Return the park elements a text names."""
    return {element for element in park_elements() if element in text}


@cache
def _catalogue() -> dict[str, list[Band]]:
    known: dict[str, list[Band]] = {}
    for activity in activities():
        known.setdefault(activity.text, []).append(activity.band)
    return known


def _knows(part: str, text: str) -> bool:
    return any(word.stem in text for word in word_ranges(part))


def _misfits(part: str, text: str, reading: Reading) -> list[Finding]:
    return [
        Finding(Problem.SENSE, f"{word.stem} at {reading.today} °C, change {reading.change:+d} °C ({word})")
        for word in word_ranges(part)
        if word.stem in text and not word.fits(reading)
    ]
