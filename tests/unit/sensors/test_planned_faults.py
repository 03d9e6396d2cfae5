"""Faults on demand: what can be asked for, and when it happens."""

import math
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SettingError
from sensors.faults import FAULTLESS, FAULTS, Planned, span

SEOUL = ZoneInfo("Asia/Seoul")
START = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)  # 12:00 in Seoul
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("10m", 600), ("26h", 93600), ("7d", 604800), ("1.5h", 5400), (" 0h ", 0)],
)
def test_spans_of_time(text: str, expected: float) -> None:
    assert span(text) == timedelta(seconds=expected)


@pytest.mark.parametrize("text", ["", "10", "m", "-5m", "1h30m", "9" * 20 + "d", "١h"])
def test_other_texts_are_no_spans(text: str) -> None:
    with pytest.raises(SettingError, match="span of time"):
        span(text)


def since(text: str, moment: datetime) -> timedelta | None:
    return Planned.parse(text).since(moment, START, SEOUL)


def test_a_time_of_day_comes_every_day_in_the_sensors_time_zone() -> None:
    ten = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)
    assert since("85@10:00+30m", ten) == timedelta(0)
    assert since("85@10:00+30m", ten + 29 * MINUTE) == 29 * MINUTE
    assert since("85@10:00+30m", ten + 30 * MINUTE) is None
    assert since("85@10:00+30m", ten - MINUTE) is None
    assert since("85@10:00+30m", ten - timedelta(days=1) + MINUTE) == MINUTE


def test_a_fault_may_last_over_midnight() -> None:
    assert since("stuck@23:00+2h", datetime(2026, 11, 26, 15, 30, tzinfo=UTC)) == 90 * MINUTE


def test_a_time_may_be_counted_from_the_start() -> None:
    assert since("85@now", START) == timedelta(0)
    assert since("85@5m+1m", START + 5 * MINUTE) == timedelta(0)
    assert since("85@5m+1m", START + 6 * MINUTE) is None
    assert since("85@-2h+1m", START - 120 * MINUTE) == timedelta(0)


def test_a_fault_may_be_of_one_sensor_and_has_a_usual_length() -> None:
    planned = Planned.parse("lake-1=-327.68@10:00")
    assert (planned.name, planned.sensor) == ("-327.68", "lake-1")
    assert planned.lasts == FAULTS["-327.68"].lasts
    assert Planned.parse("85@now").sensor is None


@pytest.mark.parametrize("text", ["85", "86@10:00", "85@25:00", "85@10", "=85@10:00", "85@10:00+", "@now", "85@now+1"])
def test_what_is_no_planned_fault_is_refused_with_the_list(text: str) -> None:
    with pytest.raises(SettingError) as caught:
        Planned.parse(text)
    assert caught.value.todo


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(SettingError):
        Planned.parse(text)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_does_something(name: str) -> None:
    fault, interval = FAULTS[name], 5 * MINUTE
    changed = False
    for step in range(1, 20):
        after = step * interval
        value = fault.value(random.Random(step), after, 7.0, 12.3)
        changed |= value is None or math.isnan(value) or value != 12.3
        changed |= fault.clock(START, after) != START
        changed |= fault.delays(after, fault.lasts, interval) != FAULTLESS.delays(after, fault.lasts, interval)
    assert changed
    assert fault.about
    assert fault.lasts >= interval
