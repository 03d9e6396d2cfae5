"""Safety: help where heat or cold is dangerous, and a word about a sudden change."""

import pytest

from core.reading import Reading
from core.safety import check_safety, dangerous

HOT, COLD = Reading(37, 37), Reading(-15, -15)


def unsafe(advice: str, reading: Reading) -> bool:
    return bool(check_safety(f"어제와 기온이 같습니다. {advice}", reading))


def test_danger_begins_at_its_limits() -> None:
    assert [dangerous(today) for today in (34, 35, 45, -11, -12, -35, 20)] == [
        "",
        "heat",
        "heat",
        "",
        "cold",
        "cold",
        "",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "벤치에서 여유를 즐기세요.",
        "물을 마시며 힘차게 달려 보세요.",
        "호숫가에서 사진을 찍으세요.",
        "함께 웃어 보세요.",
    ],
)
def test_heat_allows_no_invitation(text: str) -> None:
    assert unsafe(text, HOT)
    assert not unsafe(text, Reading(22, 22))


@pytest.mark.parametrize(
    "text",
    ["물을 자주 드세요.", "운동은 다음으로 미루고 쉬세요.", "그늘에서 쉬어 가세요.", "어르신은 한낮 외출을 피하세요."],
)
def test_heat_asks_for_help(text: str) -> None:
    assert not unsafe(text, HOT)


@pytest.mark.parametrize(
    "text", ["공원에서 사진을 남겨 보세요.", "장갑을 끼고 오래 걷기를 즐기세요.", "함께 웃어 보세요."]
)
def test_cold_allows_no_invitation(text: str) -> None:
    assert unsafe(text, COLD)


@pytest.mark.parametrize("text", ["장갑과 목도리를 챙기세요.", "외출은 짧게 하세요.", "실내에서 몸을 녹이세요."])
def test_cold_asks_for_help(text: str) -> None:
    assert not unsafe(text, COLD)


@pytest.mark.parametrize(
    ("reading", "sudden"),
    [
        (Reading(25, 15), True),
        (Reading(24, 15), False),
        (Reading(29, 19), False),  # still mild
        (Reading(20, 30), True),
        (Reading(21, 30), False),
        (Reading(10, 20), False),  # pleasant: an invitation takes it into account
    ],
)
def test_a_sudden_chill_or_heat_is_taken_into_account(reading: Reading, sudden: bool) -> None:
    assert unsafe("함께 웃어 보세요.", reading) is sudden
    assert not unsafe("갑자기 바뀐 기온에 옷차림을 살피세요.", reading)
