"""A park: what is there, and in which months. The model is told a scene: the season, and what is there now.

Only words of closed lists get from a park into a prompt: seasons, and the park elements of `words/` (`catalogue.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from core.catalogue import elements
from core.errors import ParkError
from core.season import Season
from core.sign import DEFAULT_SIGN, Sign

EVERYWHERE = ("산책로", "벤치")  # what every park has: all that a message may name when the model is told of no park
ALL_YEAR = frozenset(range(1, 13))


@dataclass(frozen=True, slots=True)
class Scene:
    """The season, and the park elements that are there: what the model is told besides the reading."""

    season: Season
    elements: tuple[str, ...]

    @classmethod
    def of(cls, season: str, names: Iterable[str]) -> "Scene":
        """Check the words; put the elements into the catalogue's order, so that one scene has one prompt.

        Raises:
            ParkError: a word is not on its list, or no element is left.
        """
        wanted = set(names)
        if season not in list(Season):
            raise ParkError(f"{season!r} is no season.", f"Write one of {', '.join(Season)}.")
        if unknown := sorted(wanted - set(elements())):
            raise ParkError(
                f"No park element is called {', '.join(unknown)}.",
                f"Choose from {', '.join(elements())}; or add it, with sentences, to core/words/own.tsv and train.",
            )
        if not wanted:
            raise ParkError("Nothing is in this park.", f"Give it an element, such as {EVERYWHERE[0]}.")
        return cls(Season(season), tuple(name for name in elements() if name in wanted))


@dataclass(frozen=True, slots=True)
class Element:
    """One thing in a park and the months in which it is worth naming (1…12): a fountain runs in summer."""

    name: str
    months: frozenset[int] = ALL_YEAR


@dataclass(frozen=True, slots=True)
class Park:
    """One park. Its name never reaches the model."""

    name: str
    elements: tuple[Element, ...]
    sign: Sign = DEFAULT_SIGN
    timezone: str = "Asia/Seoul"

    def scene(self, day: date) -> Scene:
        """Return what the model is told on a date.

        Raises:
            ParkError: nothing is in the park in this month.
        """
        return Scene.of(Season.of(day), (one.name for one in self.elements if day.month in one.months))


def season_of(scene: Scene | None) -> Season | None:
    """Return the season that the model was told; None: none, as in the plain prompt."""
    return scene.season if scene else None


def elements_of(scene: Scene | None) -> tuple[str, ...]:
    """Return the elements that a message may name; without a scene, what every park has."""
    return scene.elements if scene else EVERYWHERE
