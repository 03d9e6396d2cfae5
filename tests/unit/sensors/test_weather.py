"""The simulated weather: the same for the same seed, and like Korea's."""

import random
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from statistics import mean

import pytest

from core.reading import AIR_LIMITS, USUAL_CHANGE, USUAL_RANGE
from sensors.quality import Rules, allowed_step
from sensors.weather import Air, Thermometer

JULY, JANUARY = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
SEEDS = range(8)


def hours(seed: int, start: datetime, number: int = 28 * 24) -> list[float]:
    air = Air(seed)
    return [air.at(start + timedelta(hours=hour)) for hour in range(number)]


def test_equal_seeds_have_equal_weather_and_others_have_another() -> None:
    assert hours(1, JULY, 50) == hours(1, JULY, 50)
    several = [hours(seed, JULY, 100) for seed in SEEDS]
    assert all(mean(abs(a - b) for a, b in zip(*two, strict=True)) > 0.5 for two in combinations(several, 2))


@pytest.mark.parametrize(("month", "low", "high"), [(1, -6, 1), (4, 7, 15), (7, 22, 29), (10, 10, 18)])
def test_months_are_about_as_warm_as_in_seoul(month: int, low: float, high: float) -> None:
    assert low < mean(mean(hours(seed, datetime(2026, month, 1, tzinfo=UTC))) for seed in SEEDS) < high


def test_afternoons_are_warmest_and_mornings_coldest() -> None:
    every = [hours(seed, JULY) for seed in SEEDS]
    by_hour = [mean(mean(series[hour::24]) for series in every) for hour in range(24)]
    assert (by_hour.index(max(by_hour)) + 9) % 24 in range(13, 17)  # 9: from UTC to Seoul
    assert (by_hour.index(min(by_hour)) + 9) % 24 in range(2, 8)


@pytest.mark.parametrize("start", [JULY, JANUARY])
def test_a_year_of_comparisons_stays_where_the_model_was_trained(start: datetime) -> None:
    for seed in SEEDS:
        series = hours(seed, start, 180 * 24)
        assert USUAL_RANGE[0] <= min(series)
        assert max(series) <= USUAL_RANGE[1]
        assert max(abs(now - before) for before, now in zip(series, series[24:], strict=False)) < USUAL_CHANGE


def test_fronts_come_and_no_air_changes_faster_than_quality_control_allows() -> None:
    step = timedelta(minutes=5)
    largest = 0.0
    for seed in SEEDS:
        air = Air(seed)
        series = [air.at(JANUARY + number * step) for number in range(20 * 288)]
        largest = max(largest, *(abs(b - a) for a, b in pairwise(series)))
    assert 1.0 < largest < allowed_step(step)


@pytest.mark.parametrize("resolution", [0.01, 0.0625, 0.1, 0.5, 1.0])
def test_a_thermometer_reports_multiples_of_its_resolution(resolution: float) -> None:
    thermometer = Thermometer(Air(3), random.Random(3), place=0.4, resolution=resolution)
    values = [thermometer.read(JULY + timedelta(minutes=minute)) for minute in range(500)]
    assert all(abs(value / resolution - round(value / resolution)) < 1e-2 for value in values)
    assert AIR_LIMITS[0] < min(values) < max(values) < AIR_LIMITS[1]


def test_a_thermometer_stays_near_its_place() -> None:
    thermometer = Thermometer(Air(3), random.Random(3), place=0.4)
    times = [JULY + timedelta(minutes=minute) for minute in range(500)]
    assert mean(thermometer.read(at) - Air(3).at(at) for at in times) == pytest.approx(0.4, abs=0.02)
    assert Rules().resolution == thermometer.resolution
