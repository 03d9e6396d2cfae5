"""Composed training messages: right for every usual reading, season and park, and varied."""

import random

import pytest

from core.catalogue import Sentence, advices, elements
from core.checks import check_message
from core.errors import CorpusError
from core.park import Scene
from core.reading import Reading, usual_grid
from core.season import Season
from data.compose import advices_for, compose, echoes, opening, openings_for
from data.scenes import cases, random_prompt_scene

BRINK = [Reading(45, 20), Reading(-35, -10), Reading(45, 45), Reading(-35, -35), Reading(-10, -35), Reading(20, 45)]
EVERYTHING = Scene.of("여름", elements())


@pytest.mark.parametrize("number", range(5))
def test_composed_messages_pass_every_check_over_the_grid(number: int) -> None:
    rng = random.Random(number)
    composed = [(reading, scene, compose(reading, scene, rng)) for _, reading, scene in list(cases(5))[number::5]]
    assert len(composed) == 3481
    faults = [(text, found) for reading, scene, text in composed if (found := check_message(text, reading, scene))]
    assert faults == []


def test_five_rounds_ask_every_reading_in_every_season_and_plainly() -> None:
    asked: dict[Reading, list[str]] = {}
    for _, reading, scene in cases(5):
        asked.setdefault(reading, []).append(scene.season if scene else "")
    assert len(asked) == 3481
    assert all(sorted(seasons) == sorted(["", "봄", "여름", "가을", "겨울"]) for seasons in asked.values())
    assert list(cases(1)) == list(cases(2))[:3481]
    for today in range(-35, 46):  # and in one round, whatever the temperature
        assert {scene and scene.season for _, reading, scene in cases(1) if reading.today == today} == {None, *Season}


@pytest.mark.parametrize("reading", BRINK)
@pytest.mark.parametrize("scene", [None, EVERYTHING], ids=["plain", "everything"])
def test_one_reading_has_many_messages(reading: Reading, scene: Scene | None) -> None:
    rng = random.Random(3)
    assert len({compose(reading, scene, rng) for _ in range(100)}) > 50
    assert len({opening(reading, scene, rng) for _ in range(100)}) >= 4


@pytest.mark.parametrize("reading", BRINK)
def test_the_random_generator_decides(reading: Reading) -> None:
    def ten(seed: int) -> list[str]:
        rng = random.Random(seed)
        return [compose(reading, EVERYTHING, rng) for _ in range(10)]

    assert ten(5) == ten(5) != ten(6)


def test_a_given_advice_is_used() -> None:
    advice = advices_for(Reading(36, 38), EVERYTHING)[0]
    assert compose(Reading(36, 38), EVERYTHING, random.Random(1), advice).endswith(f". {advice.text}")


def test_a_sentence_that_fits_nowhere_is_refused_with_its_place_and_reason() -> None:
    when = advices_for(Reading(20, 20), EVERYTHING)[0].when
    too_wide = Sentence(when, "캠핑장까지 느긋하게 산책하며 이야기를 나눠 보세요.", place="own.tsv:3")
    with pytest.raises(CorpusError, match=r"own\.tsv:3: '캠핑장.*width: 3 of 2 lines.*absent: 캠핑장"):
        compose(Reading(20, 20), EVERYTHING, random.Random(1), too_wide)


def test_only_what_fits_is_picked() -> None:
    rng = random.Random(4)
    for reading in rng.sample(list(usual_grid()), 300):
        scene = random_prompt_scene(rng)
        season = scene.season if scene else None
        here = {"", *(scene.elements if scene else ("산책로", "벤치"))}
        assert advices_for(reading, scene) == [
            one for one in advices() if one.when.holds(reading, season) and one.element in here
        ]
        assert all(one.when.holds(reading, season) for one in openings_for(reading, season))


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("어제보다 3도 올라 추위가 덜합니다.", "추위가 덜해도 장갑을 챙기세요.", True),
        ("어제보다 3도 올라 포근합니다.", "겉옷을 챙기세요.", False),
        ("어제보다 기온이 올랐습니다.", "기온 차가 크니 겉옷을 챙기세요.", False),
    ],
)
def test_sentences_that_echo_each_other_are_not_combined(first: str, second: str, found: bool) -> None:
    assert echoes(first, second) is found
