"""The problems of a message: what contradicts the facts is always rejected, what is only unknown by setting."""

from dataclasses import dataclass
from enum import StrEnum


class Problem(StrEnum):
    """A check that a message failed."""

    EMPTY = "empty"
    NUMBER = "number"  # not exactly the difference, once
    DIRECTION = "direction"  # rise, fall or no change is wrong or missing
    LABEL = "label"  # labels, markers, commentary
    ONE_LINE = "one_line"
    SENTENCES = "sentences"  # not exactly two
    WIDTH = "width"  # does not fit the sign
    ALPHABET = "alphabet"  # not NFC, or a character the sign cannot show
    COMMAND = "command"  # a character that a sign's driver may obey instead of showing it
    WARNING = "warning"  # an official-warning word
    UNFINISHED = "unfinished"  # the model was cut off before it ended its turn
    SENSE = "sense"  # a word that does not fit the temperature or the change
    ABSENT = "absent"  # a place or thing that is not in this park
    SEASON = "season"  # a season that is not now, or is not known
    UNMEASURED = "unmeasured"  # wind, ice, sky, crowds: asserted though nobody measured it
    UNSAFE = "unsafe"  # no help where heat or cold is dangerous, or an invitation into it
    # No contradictions: a setting decides (`Words`).
    UNKNOWN = "unknown"  # a word that the catalogue does not have
    UNUSUAL = "unusual"  # a sentence of the catalogue, outside its own conditions


class Words(StrEnum):
    """How words, and uses of a sentence, are treated that the catalogue does not have."""

    STRICT = "strict"  # rejected: for a small model, whose new words are mistakes
    OPEN = "open"  # shown: for a model that writes well


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem with the piece of text that shows it."""

    problem: Problem
    detail: str


UNLISTED = frozenset({Problem.UNKNOWN, Problem.UNUSUAL})


def rejecting(findings: list[Finding], words: Words) -> list[Finding]:
    """Return the findings for which a message is rejected."""
    return findings if words is Words.STRICT else [one for one in findings if one.problem not in UNLISTED]
