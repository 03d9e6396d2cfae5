"""Compose training messages from the phrase tables: `"{change} {weather}. {activity}"`.

A program may compose training data, but never the board's text. Only the training set's builders call this.
"""

import random
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.checks import check_width
from core.reading import Reading
from core.sense import Activity, activities, band_of, direction

CORPUS = Path(__file__).parent / "corpus"
ANY_SIZE = 200  # °C, more than any two readings differ


@dataclass(frozen=True, slots=True)
class Weather:
    """A weather wording with the temperatures, the sizes of change (both °C) and the kinds of change it fits."""

    low: int
    high: int
    smallest: int
    largest: int
    changes: frozenset[str]
    text: str

    def fits(self, reading: Reading) -> bool:
        """Return whether the wording fits a reading."""
        return (
            self.low <= reading.today <= self.high
            and self.smallest <= abs(reading.change) <= self.largest
            and bool(self.changes & _kinds(reading))
        )


def compose(reading: Reading, rng: random.Random, activity: Activity | None = None) -> str:
    """Compose one message for a reading; the random generator picks the wording."""
    activity = activity or rng.choice(activities_for(reading))
    return f"{opening(reading, rng)} {activity.text}"


def opening(reading: Reading, rng: random.Random) -> str:
    """Compose a first sentence that fits the sign."""
    while True:
        weather = rng.choice(weathers_for(reading))
        kinds = sorted(weather.changes & _kinds(reading))
        sentence = (
            f"{change_text(reading, rng, rng.choice(kinds))} {weather.text}{'' if weather.text[-1] in '.?!' else '.'}"
        )
        if not check_width(sentence):
            return sentence


def change_text(reading: Reading, rng: random.Random, kind: str | None = None) -> str:
    """Compose the comparison with yesterday, e.g. `어제보다 10도 올라`."""
    wordings = _phrases()["change"][kind or direction(reading)]
    return str(rng.choice(wordings)).format(n=abs(reading.change))


def weathers_for(reading: Reading) -> list[Weather]:
    """Return the weather wordings that fit today's temperature and the change."""
    return [weather for weather in _weathers() if weather.fits(reading)]


def activities_for(reading: Reading) -> list[Activity]:
    """Return the activities of today's band."""
    band = band_of(reading.today)
    return [activity for activity in activities() if activity.band == band]


def _kinds(reading: Reading) -> frozenset[str]:
    name = direction(reading)
    return frozenset({name, f"{name}_but"})


@cache
def _phrases() -> dict[str, Any]:
    with (CORPUS / "phrases.toml").open("rb") as file:
        return tomllib.load(file)


@cache
def _weathers() -> tuple[Weather, ...]:
    return tuple(
        Weather(
            entry["min"],
            entry["max"],
            entry.get("size_min", 0),
            entry.get("size_max", ANY_SIZE),
            frozenset(entry["change"]),
            text,
        )
        for entry in _phrases()["weather"]
        for text in entry["texts"]
    )
