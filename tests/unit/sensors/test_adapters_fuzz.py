"""Ten thousand mutated payloads for each adapter: no exception, and no value that is not in the payload."""

import json
import math
import random
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from sensors.adapters import ADAPTERS
from sensors.source import Source
from sensors.units import Unit, celsius
from tests.unit.sensors.cases import CASES, example, read, values

PAYLOADS = 10_000  # for each adapter
ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -0.0, 7, 85, -127, 327.67, 21.5, 10**400, -(10**18), math.inf, math.nan),
    *("", "21.4", "-3", "nan", "unavailable", "unknown", "1e5", "x", "\ud800", "\0", "０"),
    *("°C", "°F", "F", "K", "Cel", "°", 1_795_654_700, 1_795_654_700_000, 1_795_654_700_000_000),
    *("2026-11-26T09:59:00+09:00", "2026-11-26T09:59:00", "20261126T005900", "1970-01-01T00:00:07Z", "2026-11-26"),
    *([], {}, [21.5], {"v": 3}, {"temperature": 3}, '{"Temperature": 3}', "[[[[", [[[[[[]]]]]], {"a": {"a": {}}}),
]
ODD_KEYS = ["", "v", "t", "n", "bv", "u", "ts", "values", "temperature", "con", "m2m:cin", "vrq", "\ud800", "a_"]
WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s{}\[\]:,"]+')  # of JSON, complete or not


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container with each of its keys."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from places(node[key])


def mutate(document: Any, dice: random.Random) -> None:
    """Change one place of a document: another value, another key, nothing, or a copy of another place."""
    every = list(places(document))
    if not every:
        return
    (parent, key), (other, other_key) = dice.choice(every), dice.choice(every)
    kind = dice.randrange(5)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[dice.choice(ODD_KEYS)] = parent.pop(key)
    elif kind == 2:
        parent[key] = json.loads(json.dumps(other[other_key]))
    elif kind == 3 and isinstance(parent[key], int | float | str):
        parent[key] = str(parent[key]) if dice.random() < 0.5 else json.dumps(parent[key])
    else:
        parent[key] = dice.choice(ODD_VALUES)


def damage(payload: bytes, dice: random.Random) -> bytes:
    """Cut a payload off, change a byte, or repeat a piece, which also doubles keys."""
    start, end = sorted(dice.randrange(len(payload) + 1) for _ in range(2))
    kind = dice.randrange(3)
    if kind == 0:
        return payload[:end]
    if kind == 1:
        return payload[:start] + bytes([dice.randrange(256)]) + payload[start + 1 :]
    return payload[:end] + payload[start:end] + payload[end:]


def fuzzed(name: str, dice: random.Random) -> Iterator[bytes]:
    text = example(name)
    while True:
        document = [json.loads(text)]  # in a list, so that the whole can be replaced too
        for _ in range(dice.choice((1, 1, 2, 4))):
            mutate(document, dice)
        payload = json.dumps(document[0] if document else None, ensure_ascii=dice.random() < 0.8)
        data = payload.encode("utf-8", "surrogatepass")
        yield damage(data, dice) if dice.random() < 0.25 else data


def numbers(text: str) -> set[float]:
    """Return every number in a payload: bare, as text, and in JSON that stands in a text."""
    found: set[float] = set()
    for word in WORD.findall(text):
        try:
            inner = json.loads(word)
            if isinstance(inner, str):
                found |= numbers(inner) if inner != text else set()
        except ValueError:
            inner = word
        if isinstance(inner, bool):
            continue
        try:
            found.add(float(inner))
        except (TypeError, ValueError, OverflowError):
            continue
    return found


def traceable(payload: bytes, *, sums: bool) -> set[float]:
    told = {one for one in numbers(payload.decode("utf-8", "replace")) if math.isfinite(one)}
    if sums:  # SenML: a base value and a value
        told |= {one + other for one in told for other in told}
    return {celsius(one, unit) for one in told for unit in Unit if math.isfinite(one)}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_no_mutated_payload_raises_or_gives_a_value_that_is_not_in_it(adapter: str) -> None:
    examples = [(name, source) for name, (used, source) in CASES.items() if used == adapter]
    given = 0
    for name, source in examples:
        dice = random.Random(name)
        for payload in islice(fuzzed(name, dice), PAYLOADS // len(examples) + 1):
            adapted = read(adapter, payload, source, retained=dice.random() < 0.1)
            given += bool(adapted.observations)
            for one in adapted.observations:
                assert math.isfinite(one.value)
                assert one.value in traceable(payload, sums=adapter == "senml"), payload
                assert one.measured_at.utcoffset() is not None
    assert PAYLOADS * 0.2 < given < PAYLOADS * 0.95  # the mutations neither spare nor ruin everything


def test_no_mutated_bare_state_raises_or_gives_another_value() -> None:
    dice = random.Random("state")
    for _ in range(PAYLOADS):
        payload = damage(damage(b"-21.45 ", dice), dice)
        for value in values(read("home_assistant", payload, Source("lake", unit="°C"))):
            assert value == float(payload)


def test_the_search_for_numbers_finds_what_it_must_and_nothing_else() -> None:
    payload = json.dumps({"a": 1.5, "b": ["2", {"c": json.dumps({"d": "-3"})}], "e": True, "f": None}).encode()
    assert numbers(payload.decode()) == {1.5, 2.0, -3.0}
