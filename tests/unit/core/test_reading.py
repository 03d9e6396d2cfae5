"""Readings: accepted values, rounding, and the usual range."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ReadingError, SignboardError
from core.reading import Reading, usual_grid


@pytest.mark.parametrize(
    ("value", "degrees"),
    [
        (21, 21),
        (-3.5, -4),
        (0.5, 1),
        (1.5, 2),
        (2.5, 3),
        (-0.5, -1),
        (-2.5, -3),
        (0.49999999999999994, 0),
        (-0.49999999999999994, 0),
        (1e-320, 0),
        (60.4, 60),
        (-50.4, -50),
        (Decimal("2.5"), 3),
        (Decimal("-49.50"), -50),
    ],
)
def test_halves_are_rounded_away_from_zero(value: Any, degrees: int) -> None:
    assert Reading.of(value, value) == Reading(degrees, degrees)


@given(st.floats(-50.5, 60.5, exclude_min=True, exclude_max=True))
def test_rounding_is_exact(value: float) -> None:
    nearest = math.floor(abs(Fraction(value)) + Fraction(1, 2))
    assert Reading.of(value, 0).yesterday == (nearest if value > 0 else -nearest)


@given(st.integers(-50, 60), st.integers(-50, 60))
def test_whole_degrees_are_unchanged(yesterday: int, today: int) -> None:
    reading = Reading.of(yesterday, today)
    assert (reading.yesterday, reading.today, reading.change) == (yesterday, today, today - yesterday)
    assert Reading.of(float(yesterday), Decimal(today)) == reading  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        True,
        False,
        "3",
        "",
        None,
        3 + 0j,
        [3],
        60.5,
        -50.5,
        61,
        -51,
        1e308,
        -1e308,
        10**400,
        -(10**400),
        Decimal("1e400"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_unusable_temperatures_are_rejected_by_name(value: Any) -> None:
    with pytest.raises(ReadingError, match=r"^yesterday is "):
        Reading.of(value, 0)
    with pytest.raises(ReadingError, match=r"^today is ") as caught:
        Reading.of(0, value)
    assert isinstance(caught.value, SignboardError)
    assert caught.value.todo


@given(st.floats(min_value=60.5) | st.floats(max_value=-50.5))
def test_temperatures_beyond_the_hard_limits_are_rejected(value: float) -> None:
    with pytest.raises(ReadingError):
        Reading.of(0, value)


@pytest.mark.parametrize(
    ("yesterday", "today", "hints"),
    [
        (10, 20, []),
        (-20, 5, []),
        (45, 20, []),
        (-21, 0, ["yesterday -21 °C"]),
        (40, 46, ["today 46 °C"]),
        (-20, 6, ["change of +26 °C"]),
        (46, -21, ["yesterday 46 °C", "today -21 °C", "change of -67 °C"]),
    ],
)
def test_unusual_readings_carry_warnings(yesterday: int, today: int, hints: list[str]) -> None:
    warnings = Reading(yesterday, today).warnings
    assert len(warnings) == len(hints)
    assert all(hint in warning for hint, warning in zip(hints, warnings, strict=True))


def test_the_usual_grid_is_every_reading_without_a_warning() -> None:
    grid = list(usual_grid())
    assert len(grid) == len(set(grid)) == 2716
    everything = (Reading(yesterday, today) for yesterday in range(-50, 61) for today in range(-50, 61))
    assert set(grid) == {reading for reading in everything if not reading.warnings}
