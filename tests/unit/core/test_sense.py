"""Sense: words and activities pass only at temperatures that they fit."""

import pytest

from core.catalogue import advices
from core.problem import Finding, Problem
from core.reading import Reading
from core.sense import BANDS, WordRange, band_of, check_sense, word_ranges

NEUTRAL = "어제와 같은 기온이 이어집니다."


def at(today: int, text: str) -> list[Finding]:
    return check_sense(text, Reading(today, today))


@pytest.mark.parametrize(
    ("activity", "fits", "misfits"),
    [
        ("잔디밭에서 피크닉을 즐기세요.", [9, 22, 33], [-12, 2, 8, 34]),
        ("따뜻한 차 한 잔 어떠세요?", [-12, 5, 18], [19, 25, 38]),
        ("따끈한 국물 어떠세요?", [-12], [38]),
        ("장갑과 목도리를 챙기세요.", [-20, 13], [14, 25, 38]),
        ("외투를 챙기세요.", [-20, 10, 27], [28, 38]),
        ("장갑은 벗어 들고 걸으세요.", [-20, 13, 20], []),  # to take something off is no contradiction
        ("물놀이를 즐겨보세요.", [10, 45], [-12, 9]),
        ("꽃길을 걸어보세요.", [0, 25], [-12, -1]),
        ("더위를 피해 쉬어가세요.", [30], [-12, 15]),
        ("조깅을 시작해보세요.", [-5, 31], [32, 38]),
        ("돌길을 걸어보세요.", [-50, -12, 2, 20, 38, 60], []),
        ("나무 그늘에서 쉬어가세요.", [14, 38], [-12, 13]),
        ("두꺼운 옷을 입으세요.", [-20, 16], [17, 38]),
    ],
)
def test_activities_fit_the_temperature(activity: str, fits: list[int], misfits: list[int]) -> None:
    assert {today: at(today, f"{NEUTRAL} {activity}") for today in fits} == {today: [] for today in fits}
    for today in misfits:
        assert {found.problem for found in at(today, f"{NEUTRAL} {activity}")} == {Problem.SENSE}, today


@pytest.mark.parametrize(
    ("weather", "fits", "misfits"),
    [
        ("따뜻합니다", [9, 20, 30], [-12, 2, 8, 31, 38]),
        ("포근합니다", [-2, 26], [-12, -3, 27]),
        ("매우 덥습니다", [31, 45], [-12, 20, 30]),
        ("조금 덥습니다", [23], [22]),
        ("시원합니다", [12, 34], [-12, 2, 35]),
        ("쌀쌀합니다", [-8, 17], [-9, 18, 30]),
        ("춥습니다", [-20, 16], [17, 20, 38]),
        ("매섭습니다", [-20, 2], [3, 20]),
        ("나들이하기 좋습니다", [9, 30], [8, 31]),
        ("한결 덥습니다", [], [20, 30, 40]),  # relief where nothing is relieved
        ("이어집니다", [-50, 2, 20, 60], []),
    ],
)
def test_weather_words_fit_the_temperature(weather: str, fits: list[int], misfits: list[int]) -> None:
    text = f"어제와 같이 {weather}. 걸어보세요."
    assert {today: at(today, text) for today in fits} == {today: [] for today in fits}
    for today in misfits:
        assert {found.problem for found in at(today, text)} == {Problem.SENSE}


def test_feelings_and_activities_have_their_own_words() -> None:
    assert at(2, f"{NEUTRAL} 따뜻하게 입고 걸어보세요.") == []  # to dress warmly is no weather
    assert at(2, "어제와 같이 따뜻합니다. 걸어보세요.") != []
    assert at(2, f"{NEUTRAL} 산책로가 따뜻합니다.") != []  # to say that the path is warm is


def test_a_sentence_of_the_catalogue_is_judged_by_its_own_conditions() -> None:
    advice = next(one for one in advices() if one.when.kind == "fall" and one.when.smallest == 10 and one.when.low > 0)
    low, high = advice.when.low, advice.when.high
    text = f"기온이 어제와 다릅니다. {advice.text}"
    season = min(advice.when.seasons, default=None)
    assert check_sense(text, Reading(low + 10, low), season) == []
    assert check_sense(text, Reading(low + 9, low - 1), season) == []  # a degree beyond is not wrong
    for reading in (Reading(low + 20, low - 2), Reading(high + 22, high + 2), Reading(low + 5, low)):
        assert [found.problem for found in check_sense(text, reading, season)] == [Problem.UNUSUAL]
    for reading in (Reading(low, low), Reading(low - 10, low), Reading(low, low - 9)):  # the direction, far too cold
        assert Problem.SENSE in {found.problem for found in check_sense(text, reading, season)}


def test_bands_divide_all_accepted_temperatures() -> None:
    for today in range(-50, 61):
        assert [band for band in BANDS if band.low <= today <= band.high] == [band_of(today)]
    assert [band_of(today).name for today in (30, 29, 15, 14, 5, 4, -4, -5)] == [
        *("hot", "warm", "warm", "cool", "cool", "cold", "cold", "freezing")
    ]


@pytest.mark.parametrize(
    ("weather", "fits", "misfits"),
    [
        ("포근해졌습니다", [(5, 12), (10, 12)], [(11, 12), (12, 12), (20, 12)]),
        ("날이 풀렸습니다", [(-8, 7)], [(5, 7), (7, 7), (14, 7)]),
        ("선선해졌습니다", [(22, 15)], [(16, 15), (15, 15), (10, 15)]),
        ("여전히 춥습니다", [(-4, -2), (-2, -2)], [(1, -2)]),
        ("여전히 덥습니다", [(35, 32), (32, 32)], [(30, 32)]),
        ("추위가 덜합니다", [(-6, -2)], [(-2, -2), (0, -2)]),
        ("더위가 덜합니다", [(38, 33)], [(33, 33), (30, 33)]),
        ("갑자기 추워졌습니다", [(14, 0)], [(3, 0), (0, 0), (-9, 0)]),
        ("3도 올라도 포근합니다", [], [(17, 20)]),  # a fact is no concession
    ],
)
def test_words_for_a_change_fit_its_direction_and_size(
    weather: str, fits: list[tuple[int, int]], misfits: list[tuple[int, int]]
) -> None:
    text = f"어제에 비해 {weather}. 걸어보세요."
    assert {pair: check_sense(text, Reading(*pair)) for pair in fits} == {pair: [] for pair in fits}
    for pair in misfits:
        assert {found.problem for found in check_sense(text, Reading(*pair))} == {Problem.SENSE}, pair


def changes(word: WordRange, today: int) -> list[Reading]:
    """Return readings with every kind of change that the word fits."""
    return [
        Reading(today - sign * size, today)
        for kind, sign in (("rise", 1), ("fall", -1), ("same", 0))
        for size in ({word.smallest, word.smallest + 1} - {0} if sign else {0})
        if kind in word.changes and size >= word.smallest
    ]


@pytest.mark.parametrize("part", ["feel", "activity"])
def test_the_word_table_can_be_satisfied(part: str) -> None:
    words = word_ranges(part)
    assert len({word.stem for word in words}) == len(words) > 20
    for word in words:
        text = f"{word.stem}. 걸어보세요." if part == "feel" else f"{NEUTRAL} {word.stem}."
        fitting = [reading for today in range(word.low, word.high + 1) for reading in changes(word, today)]
        assert not fitting or any(check_sense(text, reading) == [] for reading in fitting), word
        assert all(at(today, text) for today in range(-50, 61) if not word.low <= today <= word.high), word
