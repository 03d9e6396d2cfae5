"""Composed training messages: right for every usual reading, and varied."""

import random

import pytest

from core.checks import check_message
from core.reading import Reading, usual_grid
from core.sense import activities, direction
from data.compose import activities_for, change_text, compose, opening, weathers_for

BRINK = [Reading(45, 20), Reading(-20, 5), Reading(45, 45), Reading(-20, -20), Reading(5, -20), Reading(20, 45)]


@pytest.mark.parametrize("seed", [1, 2])
def test_composed_messages_pass_every_check_over_the_grid(seed: int) -> None:
    rng = random.Random(seed)
    composed = [(reading, compose(reading, rng)) for reading in usual_grid()]
    assert len(composed) == 2716
    assert [(text, found) for reading, text in composed if (found := check_message(text, reading))] == []


def test_every_accepted_temperature_has_weather_for_every_direction() -> None:
    for today in range(-50, 61):
        for yesterday in {max(-50, today - 1), today, min(60, today + 1)}:
            assert weathers_for(Reading(yesterday, today)), (yesterday, today)


@pytest.mark.parametrize("reading", BRINK)
def test_one_reading_has_many_messages(reading: Reading) -> None:
    rng = random.Random(3)
    assert len({compose(reading, rng) for _ in range(100)}) > 50
    assert len({opening(reading, rng) for _ in range(100)}) > 5


@pytest.mark.parametrize("reading", BRINK)
def test_the_random_generator_decides(reading: Reading) -> None:
    def ten(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [compose(reading, rng) for _ in range(10)]

    assert ten(5) == ten(5) != ten(6)


def test_a_given_activity_is_used() -> None:
    activity = activities()[0]
    reading = Reading(30, 38)
    text = compose(reading, random.Random(1), activity)
    assert text.endswith(f". {activity.text}")
    assert text != activity.text


@pytest.mark.parametrize(
    ("reading", "name", "number"),
    [(Reading(10, 20), "rise", "10도"), (Reading(5, -8), "fall", "13도"), (Reading(3, 3), "same", "")],
)
def test_the_change_is_stated_with_its_size(reading: Reading, name: str, number: str) -> None:
    assert direction(reading) == name
    texts = {change_text(reading, random.Random(seed)) for seed in range(30)}
    assert len(texts) >= 5
    assert all(number in text and "어제" in text and "{" not in text for text in texts)


def test_activities_are_those_of_todays_band() -> None:
    for reading in (Reading(30, 38), Reading(38, 22), Reading(0, 10), Reading(0, 0), Reading(0, -12)):
        chosen = activities_for(reading)
        assert chosen == [a for a in activities() if a.band.low <= reading.today <= a.band.high]
        assert len(chosen) >= 25
