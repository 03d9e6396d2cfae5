"""Compose training messages from the phrase tables: `"{change} {weather}. {activity}"`.

Training data may be composed by a program; what the board shows may not. Nothing outside the builders calls this.
"""

import random
import tomllib
from dataclasses import dataclass
from functools import cache

from data.message import check_shape
from data.reading import Reading
from data.sense import CORPUS, Activity, activities, band_of


@dataclass(frozen=True, slots=True)
class Weather:
    """A weather wording with the temperatures (°C) and the kinds of change it fits."""

    low: int
    high: int
    changes: frozenset[str]
    text: str


def compose(reading: Reading, rng: random.Random, activity: Activity | None = None) -> str:
    """Compose one message for a reading; the random generator picks the wording."""
    activity = activity or rng.choice(activities_for(reading))
    return f"{opening(reading, rng)} {activity.text}"


def opening(reading: Reading, rng: random.Random) -> str:
    """Compose a first sentence that fits one line of the sign."""
    while True:
        weather = rng.choice(weathers_for(reading))
        kinds = sorted(weather.changes & _kinds(reading))
        sentence = (
            f"{change_text(reading, rng, rng.choice(kinds))} {weather.text}{'' if weather.text[-1] in '.?!' else '.'}"
        )
        if not check_shape(f"{sentence} 네."):
            return sentence


def change_text(reading: Reading, rng: random.Random, kind: str | None = None) -> str:
    """Compose how today compares with yesterday, e.g. `어제보다 10도 올라`."""
    wordings = _phrases()["change"][kind or direction(reading)]
    return str(rng.choice(wordings)).format(n=abs(reading.change))


def direction(reading: Reading) -> str:
    """Return `rise`, `fall` or `same`."""
    return "rise" if reading.change > 0 else "fall" if reading.change < 0 else "same"


def weathers_for(reading: Reading) -> list[Weather]:
    """Return the weather wordings that fit today's temperature and the change."""
    kinds = _kinds(reading)
    return [w for w in _weathers() if w.low <= reading.today <= w.high and w.changes & kinds]


def activities_for(reading: Reading) -> list[Activity]:
    """Return the activities of today's band."""
    band = band_of(reading.today)
    return [activity for activity in activities() if activity.band == band]


def _kinds(reading: Reading) -> frozenset[str]:
    name = direction(reading)
    return frozenset({name, f"{name}_but"})


@cache
def _phrases() -> dict[str, dict[str, list[str]]]:
    with (CORPUS / "phrases.toml").open("rb") as file:
        return tomllib.load(file)


@cache
def _weathers() -> tuple[Weather, ...]:
    with (CORPUS / "phrases.toml").open("rb") as file:
        entries = tomllib.load(file)["weather"]
    return tuple(
        Weather(entry["min"], entry["max"], frozenset(entry["change"]), text)
        for entry in entries
        for text in entry["texts"]
    )
