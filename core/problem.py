"""The problems for which a message is rejected."""

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
    SENSE = "sense"  # weather word or activity does not fit the temperature


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem with the piece of text that shows it."""

    problem: Problem
    detail: str
