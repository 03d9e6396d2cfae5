"""Readings: accepted values, rounding, and the usual range."""

import math
import re
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
        (45.4, 45),
        (-35.4, -35),
        (Decimal("2.5"), 3),
        (Decimal("-19.50"), -20),
    ],
)
def test_halves_are_rounded_away_from_zero(value: Any, degrees: int) -> None:
    assert Reading.of(value, value) == Reading(degrees, degrees)


@given(st.floats(-35.5, 45.5, exclude_min=True, exclude_max=True))
def test_rounding_is_exact(value: float) -> None:
    nearest = math.floor(abs(Fraction(value)) + Fraction(1, 2))
    assert Reading.of(value, value).yesterday == (nearest if value > 0 else -nearest)


@given(st.sampled_from(list(usual_grid())))
def test_whole_degrees_are_unchanged(wanted: Reading) -> None:
    yesterday, today = wanted.yesterday, wanted.today
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
        45.5,
        -35.5,
        46,
        -36,
        61,
        -51,
        -46.85,
        -327.68,
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


@given(st.floats(min_value=45.5) | st.floats(max_value=-35.5))
def test_temperatures_outside_the_training_range_are_rejected(value: float) -> None:
    with pytest.raises(ReadingError):
        Reading.of(0, value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(85.0, "no air temperature"), (-127, "no air temperature"), (-45, "no air temperature"), (-37, "trained on")],
)
def test_a_rejected_temperature_says_whether_the_sensor_or_the_model_is_the_reason(value: float, reason: str) -> None:
    with pytest.raises(ReadingError, match=reason):
        Reading.of(value, 0)


@pytest.mark.parametrize(("yesterday", "today"), [(0, 26), (0, 27), (30, 0), (45, 19), (-20, 6), (6, -20)])
def test_a_change_larger_than_trained_is_rejected(yesterday: int, today: int) -> None:
    with pytest.raises(ReadingError, match=re.escape(f"{today - yesterday:+d} °C from yesterday")) as caught:
        Reading.of(yesterday, today)
    assert caught.value.todo


def test_the_usual_grid_is_every_reading_that_is_accepted() -> None:
    grid = list(usual_grid())
    assert len(grid) == len(set(grid)) == 3481

    def accepted(yesterday: int, today: int) -> bool:
        try:
            Reading.of(yesterday, today)
        except ReadingError:
            return False
        return True

    every = {Reading(a, b) for a in range(-51, 62) for b in range(-51, 62) if accepted(a, b)}
    assert set(grid) == every
