"""Does the wording fit the temperature? Word ranges and the activity catalogue, used by every check.

Reads `corpus/sense.toml` (words with the °C range they may be used in) and `corpus/activities.tsv` (activities by
temperature band). Standard library only: the client runs this too.
"""

import csv
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from data.message import Found, Problem, split_sentences
from data.reading import Reading

CORPUS = Path(__file__).parent / "corpus"
BAND_TOLERANCE = 1  # °C; a picnic that is right at 15 is not wrong at 14


@dataclass(frozen=True, slots=True)
class Band:
    """A range of today's temperature, °C, both ends included."""

    name: str
    low: int
    high: int

    def holds(self, degrees: int, tolerance: int = 0) -> bool:
        """Say whether a temperature lies in the band, widened by `tolerance` °C."""
        return self.low - tolerance <= degrees <= self.high + tolerance


# The outer ends are the reading's hard limits: every accepted reading has a band.
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
    """A word stem and the range of today's temperature (°C) in which it may be used."""

    stem: str
    low: int
    high: int


def band_of(degrees: int) -> Band:
    """Return the band of a temperature in °C."""
    return next(band for band in BANDS if band.holds(degrees))


@cache
def activities() -> tuple[Activity, ...]:
    """Return the activity catalogue."""
    by_name = {band.name: band for band in BANDS}
    with (CORPUS / "activities.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return tuple(Activity(by_name[row["band"]], row["element"], row["text"]) for row in rows)


@cache
def park_elements() -> tuple[str, ...]:
    """Return the park elements of the catalogue, longest first so that the most specific one is found."""
    return tuple(sorted({activity.element for activity in activities()}, key=lambda name: (-len(name), name)))


@cache
def word_ranges(part: str) -> tuple[WordRange, ...]:
    """Return the word table of a part: `feel` (first sentence) or `activity` (second)."""
    with (CORPUS / "sense.toml").open("rb") as file:
        entries = tomllib.load(file)[part]
    return tuple(WordRange(stem, entry["min"], entry["max"]) for entry in entries for stem in entry["stems"])


def check_sense(text: str, reading: Reading) -> list[Found]:
    """Return the words and activities that do not fit today's temperature."""
    feel, *rest = split_sentences(text)
    found = [*_misfits("feel", feel, reading.today), *_misfits("activity", " ".join(rest), reading.today)]
    known = _catalogue()
    found += [
        Found(Problem.SENSE, f"{sentence!r} at {reading.today} °C")
        for sentence in rest
        if sentence in known and not any(band.holds(reading.today, BAND_TOLERANCE) for band in known[sentence])
    ]
    return found


def elements_in(text: str) -> set[str]:
    """Return the park elements a text names."""
    return {element for element in park_elements() if element in text}


@cache
def _catalogue() -> dict[str, list[Band]]:
    known: dict[str, list[Band]] = {}
    for activity in activities():
        known.setdefault(activity.text, []).append(activity.band)
    return known


def _misfits(part: str, text: str, today: int) -> list[Found]:
    return [
        Found(Problem.SENSE, f"{word.stem} at {today} °C (fits {word.low}…{word.high})")
        for word in word_ranges(part)
        if word.stem in text and not word.low <= today <= word.high
    ]
