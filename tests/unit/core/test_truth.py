"""Truth: only this park, this season, and nothing that nobody measured."""

import pytest

from core.park import Scene
from core.season import Season
from core.truth import check_truth

SPRING = Scene.of("봄", ["산책로", "잔디밭", "꽃길"])
OPENING = "어제보다 10도 올라 포근합니다."


def claims(text: str, scene: Scene | None = SPRING) -> set[str]:
    return {found.problem.value for found in check_truth(f"{OPENING} {text}", scene)}


@pytest.mark.parametrize(
    "text", ["분수대로 오세요.", "분수 곁에서 쉬세요.", "장미를 보세요.", "숲을 걸으세요.", "카페에 들르세요."]
)
def test_what_is_not_in_the_park_is_not_named(text: str) -> None:
    assert claims(text) == {"absent"}


@pytest.mark.parametrize(
    "text", ["산책로를 걸으세요.", "잔디에 앉아 보세요.", "꽃을 보며 걸으세요.", "그늘에서 쉬세요.", "공원을 걸으세요."]
)
def test_what_is_there_may_be_named(text: str) -> None:
    assert claims(text) == set()


def test_without_a_scene_only_what_every_park_has_is_named() -> None:
    assert claims("산책로를 걸으세요.", None) == claims("벤치에 앉으세요.", None) == set()
    assert claims("잔디밭에 앉으세요.", None) == {"absent"}
    assert claims("봄 산책을 나서세요.", None) == {"season"}


def test_only_the_present_season_is_named() -> None:
    assert claims("봄나들이를 나서세요.") == set()
    assert claims("가을 산책을 나서세요.") == claims("늦가을 옷을 입으세요.") == {"season"}
    assert claims("초여름 같은 날, 물을 챙기세요.") == set()  # a comparison
    assert claims("꽃길을 걸어봄직합니다.") == set()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "바람이 찹니다.",
            "햇살이 좋습니다.",
            "파란 하늘을 보세요.",
            "빙판을 조심하세요.",
            "비가 오니 우산을 쓰세요.",
            "눈길을 살피세요.",
        ),
        *(
            "먼지가 적습니다.",
            "새소리를 들으세요.",
            "단풍을 보세요.",
            "사람이 붐빕니다.",
            "매미가 웁니다.",
            "음악회가 열립니다.",
            "습합니다.",
        ),
    ],
)
def test_nothing_is_asserted_that_nobody_measured(text: str) -> None:
    assert claims(text) == {"unmeasured"}


@pytest.mark.parametrize(
    "text",
    [
        "바람막이를 입으세요.",
        "바람을 쐬러 나오세요.",
        "길이 미끄러울 수 있습니다.",
        "햇볕을 피하세요.",
        "얼음물을 드세요.",
    ],
)
def test_clothes_figures_of_speech_and_care_are_no_claims(text: str) -> None:
    assert claims(text) == set()


def test_an_own_elements_name_may_hold_another_elements_word() -> None:
    own = Scene(Season.SPRING, ("잔디 광장", "숲속 도서관"))
    assert claims("잔디 광장에서 쉬세요.", own) == claims("숲속 도서관에 들르세요.", own) == set()
    assert claims("광장에서 쉬세요.", own) == claims("도서관에 들르세요.", own) == {"absent"}
