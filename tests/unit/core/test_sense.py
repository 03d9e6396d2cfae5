"""Sense: words and activities pass only at temperatures that they fit."""

import pytest

from core.checks import check_message
from core.problem import Finding, Problem
from core.reading import Reading
from core.sense import (
    BANDS,
    Activity,
    Band,
    WordRange,
    activities,
    band_of,
    check_sense,
    elements_in,
    park_elements,
    word_ranges,
)

NEUTRAL = "어제와 같은 기온이 이어집니다."


def at(today: int, text: str) -> list[Finding]:
    return check_sense(text, Reading(today, today))


@pytest.mark.parametrize(
    ("activity", "fits", "misfits"),
    [
        ("잔디밭에서 피크닉을 즐기세요.", [12, 22, 29], [-12, 2, 11, 30]),
        ("따뜻한 차 한 잔 어떠세요?", [-12, 5, 16], [17, 25, 38]),
        ("따끈한 국물 어떠세요?", [-12], [38]),
        ("장갑과 목도리를 챙기세요.", [-20, 9], [10, 25, 38]),
        ("외투를 꼭 챙기세요.", [-20, 10], [23, 38]),
        ("분수대 물소리를 들어보세요.", [15, 38], [-12, 14]),
        ("물놀이를 즐겨보세요.", [20, 45], [-12, 10]),
        ("꽃길을 걸어보세요.", [9, 25], [-12, 2]),
        ("더위를 피해 쉬어가세요.", [30], [-12, 15]),
        ("빙판을 조심하세요.", [-12, 2], [3, 20]),
        ("조깅을 시작해보세요.", [-5, 20], [30, 38]),
        ("돌길을 걸어보세요.", [-50, -12, 2, 20, 38, 60], []),
        ("그늘에서 쉬어가세요.", [18, 38], [-12, 17]),
        ("두꺼운 옷을 입으세요.", [-20, 13], [14, 38]),
    ],
)
def test_activities_fit_the_temperature(activity: str, fits: list[int], misfits: list[int]) -> None:
    assert {today: at(today, f"{NEUTRAL} {activity}") for today in fits} == {today: [] for today in fits}
    for today in misfits:
        assert {found.problem for found in at(today, f"{NEUTRAL} {activity}")} == {Problem.SENSE}


@pytest.mark.parametrize(
    ("weather", "fits", "misfits"),
    [
        ("따뜻합니다", [12, 20, 29], [-12, 2, 11, 30, 38]),
        ("포근합니다", [5, 23], [-12, 4, 24]),
        ("매우 덥습니다", [31, 45], [-12, 20, 30]),
        ("조금 덥습니다", [25], [24]),
        ("시원합니다", [14, 31], [-12, 2, 32]),
        ("쌀쌀합니다", [-6, 13], [-7, 14, 30]),
        ("춥습니다", [-20, 8], [9, 20, 38]),
        ("매섭습니다", [-20, 0], [1, 20]),
        ("나들이하기 좋습니다", [12, 29], [11, 30]),
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


@pytest.mark.parametrize("activity", activities(), ids=lambda activity: activity.text)
def test_catalogue_activities_pass_over_their_whole_band_and_not_beyond(activity: Activity) -> None:
    text, band = f"{NEUTRAL} {activity.text}", activity.band
    whole = range(band.low, band.high + 1)
    assert [found for today in whole for found in check_message(text, Reading(today, today))] == []
    for today in {band.low - 2, band.high + 2} & set(range(-50, 61)):
        assert at(today, text) != []
    assert activity.element in elements_in(activity.text)


@pytest.mark.parametrize("band", BANDS, ids=lambda band: band.name)
def test_every_band_has_enough_different_activities(band: Band) -> None:
    texts = [activity.text for activity in activities() if activity.band == band]
    assert len(set(texts)) == len(texts) >= (30 if band == BANDS[0] else 25)


def test_there_are_enough_park_elements() -> None:
    elements = park_elements()
    assert len(set(elements)) == len(elements) >= 15
    assert {"나무 그늘", "잔디밭", "꽃길", "분수대", "벤치", "연못가", "정자", "조깅 코스"} <= set(elements)


def test_elements_are_counted_where_they_are_named() -> None:
    assert elements_in("나무 그늘 벤치에서 쉬세요.") == {"나무 그늘", "벤치"}
    assert elements_in("공원에서 쉬세요.") == set()


def test_bands_divide_all_accepted_temperatures() -> None:
    for today in range(-50, 61):
        assert [band for band in BANDS if band.holds(today)] == [band_of(today)]
    assert [band_of(today).name for today in (30, 29, 15, 14, 5, 4, -4, -5)] == [
        *("hot", "warm", "warm", "cool", "cool", "cold", "cold", "freezing")
    ]


@pytest.mark.parametrize(
    ("weather", "fits", "misfits"),
    [
        ("포근해졌습니다", [(5, 12), (9, 12)], [(10, 12), (12, 12), (20, 12)]),
        ("날이 풀렸습니다", [(-8, 7)], [(5, 7), (7, 7), (14, 7)]),
        ("선선해졌습니다", [(22, 15)], [(16, 15), (15, 15), (10, 15)]),
        ("여전히 춥습니다", [(-4, -2), (-2, -2)], [(1, -2)]),
        ("여전히 덥습니다", [(35, 32), (32, 32)], [(30, 32)]),
        ("추위가 덜합니다", [(-6, -2)], [(-2, -2), (0, -2)]),
        ("더위가 덜합니다", [(38, 33)], [(33, 33), (30, 33)]),
        ("갑자기 추워졌습니다", [(14, 0)], [(3, 0), (0, 0), (-9, 0)]),
    ],
)
def test_words_for_a_change_fit_its_direction_and_size(
    weather: str, fits: list[tuple[int, int]], misfits: list[tuple[int, int]]
) -> None:
    text = f"어제에 비해 {weather}. 걸어보세요."
    assert {pair: check_sense(text, Reading(*pair)) for pair in fits} == {pair: [] for pair in fits}
    for pair in misfits:
        assert {found.problem for found in check_sense(text, Reading(*pair))} == {Problem.SENSE}, pair


@pytest.mark.parametrize("text", ["어제와 같이 신납니다. 걸어보세요.", f"{NEUTRAL} 우주선을 타보세요.", NEUTRAL])
def test_unknown_words_and_activities_are_rejected(text: str) -> None:
    assert [found.problem for found in at(20, text)] == [Problem.SENSE]
    assert "no known" in at(20, text)[0].detail


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
        assert any(check_sense(text, reading) == [] for reading in fitting), word
        assert all(at(today, text) for today in range(-50, 61) if not word.low <= today <= word.high), word
