"""Fifty sensors, fourteen simulated days, every fault injected and known: what was flagged, and what was compared."""

from collections import Counter

import pytest

from sensors.days import Choice, Comparison, Mode
from sensors.quality import Flag
from tests.support.weather import (
    CLOCK_FAULTS,
    DELIVERIES,
    PARKS,
    SENSORS,
    STEPS,
    TIMES_EACH,
    VALUE_FAULTS,
    Result,
    fault_table,
    simulate,
    steps_of,
)


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate()


def test_every_fault_was_injected_and_every_observation_arrived(result: Result) -> None:
    assert len(result.sent) == len(result.checked) == PARKS * SENSORS * STEPS
    injected = Counter(sent.fault for sent in result.sent.values())
    for name, fault in VALUE_FAULTS.items():
        assert injected[name] == TIMES_EACH * steps_of(fault), name
    assert all(injected[name] >= TIMES_EACH for name in (*CLOCK_FAULTS, *DELIVERIES))
    assert result.doubled == TIMES_EACH * 36


def test_no_comparison_was_made_from_a_bad_value(result: Result) -> None:
    assert any(sent.bad for sent in result.sent.values())
    assert result.comparisons_from_bad() == []


def test_no_bad_value_was_flagged_good(result: Result) -> None:
    missed = [key for key, sent in result.sent.items() if sent.bad and result.checked[key].flag is Flag.GOOD]
    assert missed == []


def test_few_good_values_were_rejected(result: Result) -> None:
    true = sum(not sent.fault or sent.fault in DELIVERIES for sent in result.sent.values())
    assert true > 0.9 * len(result.sent)
    assert len(result.good_rejected()) <= 0.005 * true


def test_delayed_reordered_and_repeated_observations_are_good(result: Result) -> None:
    told = [key for key, sent in result.sent.items() if sent.fault in DELIVERIES]
    assert len(told) == len(DELIVERIES) * TIMES_EACH * 36
    assert sum(result.checked[key].flag is Flag.GOOD for key in told) >= 0.99 * len(told)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("choice", Choice)
def test_after_the_first_day_nearly_every_comparison_succeeds(mode: Mode, choice: Choice, result: Result) -> None:
    found = [found for one, other, found in result.comparisons if (one, other) == (mode, choice)]
    later = found[len(found) // 14 + PARKS :]
    assert sum(isinstance(one, Comparison) for one in later) >= 0.99 * len(later)


def test_the_table_has_a_row_for_every_fault() -> None:
    table = fault_table()
    assert all(f"| {name} " in table for name in (*VALUE_FAULTS, *CLOCK_FAULTS, *DELIVERIES, "none"))
