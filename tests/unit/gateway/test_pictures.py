"""Pictures of boards: their dots are the raster's, the AI mark covers none of them, and the look follows the clock."""

import asyncio
import io
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from PIL import Image

from benchmarks.scripted_server import GOOD
from benchmarks.sign_faults import show_now
from clients import SignMessage
from core.errors import SettingError
from core.park import Element, Park
from core.reading import Reading
from core.sign import Sign
from gateway import pictures
from gateway.boards import Boards, BoardView
from gateway.look import Look, parse_colour, parse_night
from gateway.picture_routes import Asked, Drawer
from gateway.pictures import AI_MARK, PAGE_SECONDS, SCROLL_SPEED, Wanted, corner_mark, pages_of, png_of, profile_of
from gateway.settings import GatewaySettings
from signs.errors import NotDrawable
from signs.raster import Font, SignProfile, render, strip

AMBER = (255, 176, 0)
ROOMY, TIGHT = SignProfile.parse("192x48"), SignProfile.parse("160x32")
SEOUL = ZoneInfo("Asia/Seoul")


def view(text: str = GOOD, age: float = 0.0, sign: Sign | None = None) -> BoardView:
    clock = [100.0]
    boards = Boards(
        sign or Sign(20, 2),
        3600,
        9,
        ai_mark=True,
        now=lambda: datetime(2026, 7, 1, tzinfo=UTC),
        monotonic=lambda: clock[0],
    )
    park = Park("공원", (Element("산책로"),), sign=sign or Sign(20, 2))
    show_now(boards, "main", boards.ticket("main", park), SignMessage(text, Reading(10, 20), None, 1, 0.1))
    clock[0] += age
    found = boards.view("main")
    assert found
    return found


def blank_view() -> BoardView:
    found = Boards(Sign(20, 2), 3600, 9, ai_mark=True).view("main", blank=True)
    assert found
    return found


def lit(png: bytes) -> Image.Image:
    """Return a picture's dots that are not black."""
    return Image.open(io.BytesIO(png)).convert("L").point(lambda value: 255 * (value > 0), "1")


def test_without_the_mark_the_pictures_are_the_rasters() -> None:
    wanted = Wanted(TIGHT, ai_mark=False)
    for number, dots in enumerate(render(GOOD, TIGHT)):
        png = png_of(view(), wanted, AMBER, number)
        assert lit(png).tobytes() == dots.tobytes()
        assert Image.open(io.BytesIO(png)).size == (160, 32)


def test_the_mark_stands_in_a_dark_corner_of_every_page() -> None:
    wanted = Wanted(ROOMY)
    pages = pages_of(view(), wanted)
    assert corner_mark(pages, wanted) == AI_MARK
    for page, dots in zip(pages, render(GOOD, ROOMY), strict=True):
        text = page.dots.copy()
        text.paste(0, (192 - 30, 40, 192, 48))
        assert text.tobytes() == dots.tobytes(), "not a dot of the message is changed"
        assert page.dots.crop((192 - 30, 40, 192, 48)).getbbox()


def test_without_room_the_mark_gets_a_page_of_its_own() -> None:
    wanted = Wanted(TIGHT)
    long = "어제보다 10도 높아져 온화한 날씨입니다. 산책로를 천천히 걸어 보시기 바랍니다."
    pages = pages_of(view(long), wanted)
    assert corner_mark(pages, wanted) is None
    assert [page.lines for page in pages][-1] == (AI_MARK,)
    assert [page.dots.tobytes() for page in pages[:-1]] == [dots.tobytes() for dots in render(long, TIGHT)]


def test_a_scrolling_sign_runs_the_text_and_then_the_mark() -> None:
    wanted = Wanted(TIGHT, scroll=True)
    (page,) = pages_of(view(), wanted)
    alone = strip(GOOD, TIGHT)
    assert page.dots.crop((0, 0, alone.width, 32)).tobytes() == alone.tobytes()
    assert page.dots.width == alone.width + 32 + strip(AI_MARK, TIGHT).width
    (unmarked,) = pages_of(view(), Wanted(TIGHT, scroll=True, ai_mark=False))
    assert unmarked.dots.tobytes() == alone.tobytes()


def test_the_picture_is_what_the_sign_shows_at_that_age() -> None:
    wanted = Wanted(ROOMY)
    first, second = (png_of(view(), wanted, AMBER, number) for number in (0, 1))
    assert first != second
    for age, expected in ((0.0, first), (PAGE_SECONDS - 0.1, first), (PAGE_SECONDS, second), (2 * PAGE_SECONDS, first)):
        assert png_of(view(age=age), wanted, AMBER) == expected
    scrolls = Wanted(TIGHT, scroll=True)
    begins = png_of(view(age=160 / SCROLL_SPEED), scrolls, AMBER)
    assert begins == png_of(view(), scrolls, AMBER, 0), "a sign's width has run in"
    assert not lit(png_of(view(), scrolls, AMBER)).getbbox(), "it begins outside"


def test_a_blank_board_is_black_and_has_one_page() -> None:
    wanted = Wanted(ROOMY)
    assert not lit(png_of(blank_view(), wanted, AMBER)).getbbox()
    assert png_of(blank_view(), wanted, AMBER, 0)
    with pytest.raises(IndexError):
        png_of(blank_view(), wanted, AMBER, 1)


def test_a_picture_tells_machines_that_an_ai_wrote_the_text() -> None:
    assert Image.open(io.BytesIO(png_of(view(), Wanted(ROOMY), AMBER))).info["ai_generated"] == "true"
    assert "ai_generated" not in Image.open(io.BytesIO(png_of(blank_view(), Wanted(ROOMY), AMBER))).info


def test_what_a_sign_cannot_show_leaves_it_blank_and_says_why() -> None:
    narrow = Wanted(SignProfile.parse("32x16"))
    with pytest.raises(NotDrawable):
        pages_of(view(), narrow)


def test_frames_and_picture_say_the_same(caplog: pytest.LogCaptureFixture) -> None:
    clock = [100.0]
    now = datetime(2026, 7, 1, 14, tzinfo=UTC)  # 23:00 in Seoul
    boards = Boards(Sign(20, 2), 3600, 9, ai_mark=True, now=lambda: now, monotonic=lambda: clock[0])
    park = Park("공원", (Element("산책로"),))
    show_now(boards, "main", boards.ticket("main", park), SignMessage(GOOD, Reading(10, 20), None, 1, 0.1))
    settings = GatewaySettings(kiosk_night="22:00-06:00", kiosk_night_brightness=50, kiosk_colour="ff0000")
    drawer, asked = Drawer(settings, boards, lambda: now), Asked(192, 48, None, None, None, None)
    frames = asyncio.run(drawer.frames("main", asked, "b"))
    assert [(one.seconds, one.percent) for one in frames.brightness] == [
        (0, 50),
        (7 * 3600, 100),
        (23 * 3600, 50),
    ]
    assert (frames.ai_generated, frames.mark, frames.seconds_left) == (True, AI_MARK, 3600)
    assert Image.open(io.BytesIO(asyncio.run(drawer.png("main", asked, None)))).getextrema() == (
        (0, 127),
        (0, 0),
        (0, 0),
    )
    for _ in range(3):
        none = asyncio.run(drawer.frames("main", Asked(32, 16, None, None, None, None), "b"))
        assert (none.pages, none.seconds_left, "dots" in (none.problem or "")) == ([], None, True)
    assert len(caplog.records) == 1, "once for each message, however often a player asks"


def test_drawn_pages_are_kept_within_a_bound() -> None:
    for width in range(1900, 2048):
        pages_of(view(), Wanted(SignProfile(width, 1080, Font.DOTS_16)))
    assert 30 * 2**20 < pictures.KEPT.currsize <= pictures.KEPT_DOTS


@pytest.mark.parametrize(("sign", "size"), [("20x2", "160x32:16"), ("24x1", "192x16:16"), ("scroll", "160x16:16")])
def test_a_sign_known_in_cells_has_dots(sign: str, size: str) -> None:
    assert str(profile_of(Sign.parse(sign))) == size
    assert profile_of(Sign.parse(sign)).font is Font.DOTS_16


def test_night_dims_over_midnight_and_its_changes_are_foretold() -> None:
    look = Look(AMBER, 80, "22:00-06:00", 20)
    at = {hour: datetime(2026, 7, 1, hour, tzinfo=SEOUL) for hour in (5, 6, 12, 21, 22)}
    assert {hour: look.brightness_at(moment, "Asia/Seoul") for hour, moment in at.items()} == {
        5: 20,
        6: 80,
        12: 80,
        21: 80,
        22: 20,
    }
    assert look.changes(at[12].astimezone(UTC), "Asia/Seoul") == [(0, 80), (10 * 3600, 20), (18 * 3600, 80)]
    assert Look(AMBER, 80).changes(at[12], "Asia/Seoul") == [(0, 80)]
    assert Look(AMBER).rgb(50) == (127, 88, 0)


@pytest.mark.parametrize("wrong", ["", "22:00", "22:00-22:00", "24:00-06:00", "22.00-06.00"])
def test_a_wrong_night_is_named(wrong: str) -> None:
    with pytest.raises(SettingError):
        parse_night(wrong)


@pytest.mark.parametrize("wrong", ["", "amber", "#fff", "ffb0000"])
def test_a_wrong_colour_is_named(wrong: str) -> None:
    with pytest.raises(SettingError):
        parse_colour(wrong)
    assert parse_colour("#ffB000") == AMBER
