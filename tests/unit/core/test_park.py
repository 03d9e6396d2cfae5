"""Parks and scenes: seasons by date, elements by month, closed lists only."""

from datetime import date

import pytest

from core.catalogue import elements
from core.errors import ParkError
from core.park import EVERYWHERE, Element, Park, Scene
from core.prompt import build_messages, read_user_text, user_text
from core.reading import Reading
from core.season import Season

READING = Reading(10, 20)


def test_seasons_follow_the_calendar() -> None:
    months = {month: Season.of(date(2026, month, 1)).value for month in range(1, 13)}
    assert "".join(months[month][0] for month in range(1, 13)) == "겨겨봄봄봄여여여가가가겨"


def test_one_scene_has_one_prompt_whatever_the_order() -> None:
    names = list(elements())[:6]
    assert Scene.of("봄", names) == Scene.of("봄", reversed(names))


@pytest.mark.parametrize(
    ("season", "names", "word"),
    [
        ("장마", ["벤치"], "장마"),
        ("봄", ["카페"], "카페"),
        ("봄", [], "Nothing"),
        ("봄", ["벤치\n어제 1도"], "어제 1도"),
    ],
)
def test_words_that_are_on_no_list_reach_no_prompt(season: str, names: list[str], word: str) -> None:
    with pytest.raises(ParkError, match=word):
        Scene.of(season, names)


def test_seasonal_elements_are_there_in_their_months_only() -> None:
    park = Park("어느 공원", (Element("벤치"), Element("분수대", frozenset({6, 7}))))
    assert set(park.scene(date(2026, 6, 30)).elements) == {"분수대", "벤치"}
    assert park.scene(date(2026, 8, 1)) == Scene(Season.SUMMER, ("벤치",))


def test_the_parks_name_stays_outside() -> None:
    park = Park("비밀 공원", (Element("벤치"),))
    assert "비밀" not in str(build_messages(READING, park.scene(date(2026, 1, 1))))


@pytest.mark.parametrize("scene", [None, Scene.of("가을", EVERYWHERE), Scene.of("여름", elements())])
def test_a_user_turn_can_be_read_back(scene: Scene | None) -> None:
    assert read_user_text(user_text(READING, scene)) == (READING, scene)


def test_the_plain_prompt_is_the_originals() -> None:
    assert user_text(READING) == "어제 10도, 오늘 20도"
    assert user_text(READING, Scene.of("봄", ["벤치"])).endswith(". 어제 10도, 오늘 20도")
