"""Check that a message claims only what is known: this park's elements, this season, nothing that nobody measured.

Reads `words/truth.toml` and the catalogue's park elements.
"""

import re
from functools import cache

from core.catalogue import elements, word_table
from core.park import Scene, elements_of, season_of
from core.problem import Finding, Problem
from core.season import Season


def check_truth(text: str, scene: Scene | None) -> list[Finding]:
    """Return what a message claims without knowing it; without a scene, only what every park has is known."""
    return [*check_park(text, scene), *check_season(text, scene), *check_unmeasured(text)]


def check_park(text: str, scene: Scene | None) -> list[Finding]:
    """Require that every element and every place that a message names is in the park."""
    here = set(elements_of(scene))
    for name in sorted(here, key=len, reverse=True):  # an own element's name may hold another element's word
        text = text.replace(name, " ")
    absent = [match[0] for pattern, one_of in _names() for match in pattern.finditer(text) if not here & one_of]
    places = [match[0] for match in _places().finditer(text)]
    return [Finding(Problem.ABSENT, name) for name in dict.fromkeys([*absent, *places])]


def check_season(text: str, scene: Scene | None) -> list[Finding]:
    """Require that a season that is named is the one that was told."""
    now = season_of(scene)
    named = [match[0] for match in _seasons().finditer(text) if match[1] != now]
    named += [match[0] for pattern, when in _season_words() if now not in when and (match := pattern.search(text))]
    return [Finding(Problem.SEASON, name) for name in named]


def check_unmeasured(text: str) -> list[Finding]:
    """Reject claims about what two temperatures do not tell."""
    return [Finding(Problem.UNMEASURED, match[0]) for match in _unmeasured().finditer(text)]


def elements_in(text: str) -> set[str]:
    """Return the park elements that a text names, each by its own name."""
    return {name for name in elements() if name in text}


@cache
def _names() -> tuple[tuple[re.Pattern[str], set[str]], ...]:
    own = [(re.compile(re.escape(name)), {name}) for name in elements()]
    return (*own, *((re.compile(entry["pattern"]), set(entry["elements"])) for entry in word_table("truth")["names"]))


@cache
def _places() -> re.Pattern[str]:
    return re.compile(word_table("truth")["places"]["pattern"])


@cache
def _seasons() -> re.Pattern[str]:
    names = "|".join(Season).replace("봄", "(?<!돌)봄(?!직)")
    return re.compile(f"({names})(?!{word_table('truth')['seasons']['comparison']})")


@cache
def _season_words() -> tuple[tuple[re.Pattern[str], set[str]], ...]:
    return tuple(
        (re.compile(entry["pattern"]), set(entry["seasons"])) for entry in word_table("truth")["seasons"]["words"]
    )


@cache
def _unmeasured() -> re.Pattern[str]:
    return re.compile("|".join(word_table("truth")["unmeasured"]["patterns"]))
