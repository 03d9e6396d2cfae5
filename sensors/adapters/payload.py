"""From bytes to one checked number: JSON with its traps, a value by key or path, a float or the reason why not."""

import json
import math
import re
from itertools import islice
from typing import Any

from sensors.adapters.found import Hole, Reason, Refused
from sensors.source import compiled

# What home automation, templates and codecs write where they have no value.
_NO_VALUE = {"", "unavailable", "unknown", "none", "null", "offline", "n/a"}
_NOT_FINITE = {"nan", "inf", "infinity"}
# ASCII digits with a point: float() would also take "1_000" and digits of other scripts.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_text(payload: bytes) -> str:
    """Return a payload as text, without the mark that some Windows programs put first.

    Raises:
        Refused: it is not UTF-8.
    """
    try:
        return payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(Reason.NOT_JSON, f"byte {error.start} is not UTF-8") from error


def read_json(text: str) -> Any:
    """Return a JSON document. A key with two different values has `Hole.SEVERAL`: which one is meant, nobody knows.

    Raises:
        Refused: it is not JSON, is nested too deeply, or has an integer of thousands of digits.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise Refused(Reason.NOT_JSON, "nested too deeply") from None
    except ValueError as error:
        raise Refused(Reason.NOT_JSON, shortened(str(error))) from error


def read_object(payload: bytes) -> dict[str, Any]:
    """Return a payload that must be one JSON object.

    Raises:
        Refused: it is not.
    """
    return as_object(read_json(read_text(payload)), "the payload")


def as_object(value: object, what: str) -> dict[str, Any]:
    """Return a value that must be a JSON object.

    Raises:
        Refused: it is not; the detail calls it `what`.
    """
    if not isinstance(value, dict):
        raise Refused(Reason.WRONG_SHAPE, f"{what} is {described(value)}, not an object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for key, value in pairs:
        known[key] = value if key not in known or known[key] == value else Hole.SEVERAL
    return known


def pick(document: object, field: str | None) -> object:
    """Return the value at a key or a JSONPath; a hole if there is none, or more than one."""
    if field is None or not isinstance(document, dict | list):
        return Hole.MISSING
    if not field.startswith("$"):
        return document.get(field, Hole.MISSING) if isinstance(document, dict) else Hole.MISSING
    matches = [match.obj for match in islice(compiled(field).finditer(document), 2)]
    if len(matches) > 1:
        return Hole.SEVERAL
    return matches[0] if matches else Hole.MISSING


def pick_within(document: object, part: object, field: str | None) -> object:
    """Return the value at a JSONPath of a document, or at a key of one part of it."""
    return pick(document if field is not None and field.startswith("$") else part, field)


def texts(document: object, *keys: str) -> list[str]:
    """Return those values of an object's keys that are text and not empty."""
    values = (pick(document, key) for key in keys)
    return [value for value in values if isinstance(value, str) and value]


def number(value: object, *, text: bool) -> float:
    """Return a found value as a finite number; with `text` also one that is written as text.

    Raises:
        Refused: it is not one. Nothing else becomes a number: not true, not an empty text, not a missing field.
    """
    if isinstance(value, Hole):
        raise Refused(Reason.MISSING if value is Hole.MISSING else Reason.AMBIGUOUS, value.value)
    if value is None:
        raise Refused(Reason.NULL, "null")
    if isinstance(value, str):
        return _number_in_text(value, accepted=text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(Reason.NOT_A_NUMBER, described(value))
    return _finite(value)


def _number_in_text(value: str, *, accepted: bool) -> float:
    text = value.strip(" \t\r\n")  # strip() alone also takes off control characters
    if text.lower() in _NO_VALUE:
        raise Refused(Reason.UNAVAILABLE, described(value))
    if text.lower().lstrip("+-") in _NOT_FINITE:
        raise Refused(Reason.NOT_FINITE, described(value))
    if not accepted or not _NUMBER.fullmatch(text):
        raise Refused(Reason.NOT_A_NUMBER, described(value))
    return _finite(text)


def _finite(value: float | str) -> float:
    try:
        result = float(value)
    except OverflowError:  # an integer beyond 1.8e308
        result = math.inf
    if not math.isfinite(result):
        raise Refused(Reason.NOT_FINITE, described(value))
    return result


def described(value: object) -> str:
    """Return a value in a few words; never the content of lists and objects, which may be endless."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return shortened(repr(value[:50] if isinstance(value, str) else value))


def shortened(text: str) -> str:
    """Return a text of 60 characters at most."""
    return text if len(text) <= 60 else f"{text[:59]}…"
