"""The catalogue: sentences written by hand, and the readings and seasons for which each may be said.

`words/openings.tsv` has first sentences, `words/advice.tsv` second ones, `words/own.tsv` an operator's own second ones.
They are training material, the closed list of park elements, and the words that the checks know. Columns: `low` and
`high` (today, °C, both included), `change` (`rise`, `fall`, `same`, with a size such as `fall10` or `rise5-9`; empty:
any), `seasons` (`봄,가을`; empty: any), `element` (the park element that the text names; empty: none), `text`.
"""

import csv
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.errors import CorpusError
from core.reading import Reading
from core.season import Season

WORDS = Path(__file__).parent / "words"
OPENINGS, ADVICE, OWN = WORDS / "openings.tsv", WORDS / "advice.tsv", WORDS / "own.tsv"
OPENING_COLUMNS = ("low", "high", "change", "seasons", "text")
ADVICE_COLUMNS = ("low", "high", "change", "seasons", "element", "text")
# The park elements, in the order in which prompts name them: another order is another prompt for the model.
ELEMENTS = (
    *("벤치", "쉼터", "온실", "운동기구", "놀이터", "연못가", "정자", "전망대", "산책로", "숲길"),
    *("조깅 코스", "호숫가", "광장", "자전거길", "분수대", "야외무대", "나무 그늘", "잔디밭", "장미원", "꽃길"),
)
CHANGE = re.compile(r"(?P<kind>rise|fall|same)?(?P<low>\d+)?(?:-(?P<high>\d+))?")
ANY_SIZE = 200  # °C, more than any two readings differ


@dataclass(frozen=True, slots=True)
class Condition:
    """When a sentence may be said: today's temperature and the size of the change (°C), its direction, the season."""

    low: int
    high: int
    kind: str = ""  # rise, fall, same; empty: any
    smallest: int = 0
    largest: int = ANY_SIZE
    seasons: frozenset[str] = frozenset()  # empty: any, or unknown

    @classmethod
    def parse(cls, row: dict[str, str]) -> "Condition":
        """Read a table's columns low, high, change and seasons.

        Raises:
            ValueError: a column has another form.
        """
        low, high, change = int(row["low"]), int(row["high"]), CHANGE.fullmatch(row["change"])
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if not change or (change["kind"] not in ("rise", "fall") and (change["low"] or change["high"])):
            raise ValueError(f"the change {row['change']!r} is not like rise, fall10, rise5-9 or same")
        seasons = frozenset(filter(None, row["seasons"].split(",")))
        if unknown := seasons - set(Season):
            raise ValueError(f"no season is called {', '.join(sorted(unknown))}")
        smallest, largest = int(change["low"] or 0), int(change["high"] or ANY_SIZE)
        return cls(low, high, change["kind"] or "", smallest, largest, seasons)

    def holds(self, reading: Reading, season: str | None, tolerance: int = 0) -> bool:
        """Return whether a reading and a season (None: unknown) meet it; `tolerance` in °C widens the ranges."""
        return (
            self.low - tolerance <= reading.today <= self.high + tolerance
            and self.kind in ("", reading.direction)
            and self.smallest - tolerance <= abs(reading.change) <= self.largest + tolerance
            and (not self.seasons or season in self.seasons)
        )


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of the catalogue. A first sentence has `{n}` where the difference in °C stands."""

    when: Condition
    text: str
    element: str = ""  # the park element that it names; empty: none
    place: str = ""  # file and line

    def about(self, reading: Reading) -> str:
        """Return the text for a reading."""
        return self.text.format(n=abs(reading.change))


@cache
def openings() -> tuple[Sentence, ...]:
    """Return the first sentences."""
    return _sentences(OPENINGS, OPENING_COLUMNS)


@cache
def advices() -> tuple[Sentence, ...]:
    """Return the second sentences, the operator's own last."""
    return _sentences(ADVICE, ADVICE_COLUMNS) + own_advices()


@cache
def own_advices() -> tuple[Sentence, ...]:
    """Return the operator's own second sentences."""
    return _sentences(OWN, ADVICE_COLUMNS)


@cache
def elements() -> tuple[str, ...]:
    """Return the park elements, a closed list: ours, then those that the operator's own sentences name."""
    return tuple(dict.fromkeys([*ELEMENTS, *(own.element for own in own_advices() if own.element)]))


@cache
def vocabulary() -> frozenset[str]:
    """Return every word of the catalogue, without marks and numbers."""
    return frozenset(word for sentence in openings() + advices() for word in words_of(sentence.text.replace("{n}", "")))


@cache
def word_table(name: str) -> dict[str, Any]:
    """Return one of the tables of the checks, `words/<name>.toml`."""
    return tomllib.loads((WORDS / f"{name}.toml").read_text(encoding="utf-8"))


def words_of(text: str) -> list[str]:
    """Return the words of a text, without marks; of a number with its unit, the unit."""
    return re.findall(r"[^\s.,?!\d]+", text)


def _sentences(path: Path, columns: tuple[str, ...]) -> tuple[Sentence, ...]:
    """Read a table; empty lines, and lines that begin with `#`, are skipped.

    Raises:
        CorpusError: the columns differ, or a row has a wrong condition; the text names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(
            f"{path} cannot be read as UTF-8 text: {error}.", "Restore it from the repository."
        ) from error
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not rows or tuple(rows[0][1].split("\t")) != columns:
        raise CorpusError(f"{path} does not begin with the columns {', '.join(columns)}.", "Separate them by tabs.")
    found = []
    for number, line in rows[1:]:
        cells = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE))
        try:
            row = dict(zip(columns, map(str.strip, cells), strict=True))
            when = Condition.parse(row)
            if not re.fullmatch(r"([가-힣]+( [가-힣]+)*)?", row.get("element", "")):
                raise ValueError(f"the element {row['element']!r} is more than Hangul words and spaces")
        except ValueError as error:
            raise CorpusError(
                f"{path}:{number}: {error}.", f"Write {len(columns)} columns, separated by tabs: {', '.join(columns)}."
            ) from error
        found.append(Sentence(when, row["text"], row.get("element", ""), f"{path}:{number}"))
    return tuple(found)
