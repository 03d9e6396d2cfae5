"""The resolution that a sensor shows by its changes."""

import random
from datetime import UTC, datetime

import pytest

from sensors.observation import Observation
from sensors.quality import COARSEST, Checked, Flag, Reason, Rules
from sensors.resolution import FEWEST, Resolution
from sensors.weather import Air, Thermometer

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def checked(value: float, *reasons: Reason) -> Checked:
    flag = Flag.DOUBTFUL if reasons else Flag.GOOD
    return Checked(Observation("lake", value, NOON, NOON, "key"), flag, reasons)


def hourly(resolution: float, hours: int = 24 * 14) -> list[float]:
    thermometer = Thermometer(Air(5), random.Random(5), 0.3, resolution=resolution)
    return [thermometer.read(datetime.fromtimestamp(3600 * hour, UTC)) for hour in range(hours)]


@pytest.mark.parametrize("resolution", [0.5, 1.0, 2.0])
def test_a_coarse_sensor_shows_its_step(resolution: float) -> None:
    assert Resolution(hourly(resolution)).shown == resolution


@pytest.mark.parametrize("resolution", [0.01, 0.0625, 0.1])
def test_a_fine_sensor_shows_a_fine_one_even_at_one_value_an_hour(resolution: float) -> None:
    shown = Resolution(hourly(resolution)).shown
    assert shown is not None
    assert shown <= 0.3


def test_whole_fahrenheit_in_celsius_is_coarse() -> None:
    values = [round((round(value * 1.8 + 32) - 32) / 1.8, 1) for value in hourly(0.1)]
    assert Resolution(values).shown in (0.5, 0.6)


def test_too_few_changes_show_nothing() -> None:
    assert Resolution().shown is None
    assert Resolution([20.0] * 1000).shown is None
    assert Resolution(range(FEWEST)).shown is None
    assert Resolution(range(FEWEST + 1)).shown == 1


def test_it_is_learned_one_by_one_and_only_from_good_values() -> None:
    learned = Resolution()
    for number, value in enumerate(hourly(0.5)):
        learned.add(checked(value))
        learned.add(checked(number + 0.01, Reason.STEP))
    assert learned.shown == Resolution(hourly(0.5)).shown == 0.5


def test_a_sensor_that_is_replaced_by_a_finer_one_shows_that() -> None:
    assert Resolution([*hourly(1.0), *hourly(0.1)]).shown != 1.0


def test_what_is_shown_counts_unless_somebody_stated_the_resolution() -> None:
    assert Rules().showing(None) == Rules().showing(0.01) == Rules()
    assert Rules().showing(0.5).resolution == 0.5
    assert Rules().showing(50).resolution == COARSEST
    stated = Rules(resolution=0.2, told=True)
    assert stated.showing(0.5) is stated
