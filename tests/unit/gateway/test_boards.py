"""Boards: which message is shown and for how long, and the reasons why one is not shown."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.scripted_server import GOOD
from benchmarks.sign_faults import show_now
from clients import SignMessage
from core.park import Element, Park
from core.reading import Reading
from core.sign import DEFAULT_SIGN, Sign
from gateway.boards import Boards, Memory, NotShown, TooManyBoards
from gateway.placed import Placed
from sensors.days import NoReading

PARK = Park("공원", (Element("산책로"),), timezone="Asia/Seoul")


def message(today: int = 20) -> SignMessage:
    return SignMessage(GOOD, Reading(10, today), None, 1, 0.1)


class Clock:
    """A wall clock that tests set and step, and the monotonic clock beside it, which only time moves."""

    def __init__(self, hour: int) -> None:
        self.now = datetime(2026, 7, 1, hour, tzinfo=UTC)
        self.monotonic = 1000.0

    def passes(self, **time: float) -> None:
        """Let time pass on both clocks."""
        self.now += timedelta(**time)
        self.monotonic += timedelta(**time).total_seconds()

    def steps(self, **time: float) -> None:
        """Set the wall clock, as NTP does on a machine without a clock chip."""
        self.now += timedelta(**time)

    def boards(self, limit: int = 1000) -> Boards:
        return Boards(
            DEFAULT_SIGN,
            6 * 3600,
            limit,
            ai_mark=True,
            now=lambda: self.now,
            monotonic=lambda: self.monotonic,
        )


def shown(boards: Boards, board: str) -> datetime | None:
    """Return until when a board shows something; None: it is blank."""
    view = boards.view(board)
    assert view
    assert (view.message is None) == (view.blank_at is None) == (view.age is None) == (view.pages == [])
    return view.blank_at


def test_stale_messages_are_never_displayed() -> None:
    clock = Clock(3)  # noon in Seoul
    boards = clock.boards()
    show_now(boards, "lake", boards.ticket("lake", PARK), message())
    assert shown(boards, "lake") == clock.now + timedelta(hours=6)
    clock.passes(hours=7)  # 19:00
    assert shown(boards, "lake") is None
    clock.passes(hours=4, minutes=59, seconds=58)  # two seconds to midnight
    show_now(boards, "lake", boards.ticket("lake", PARK), message())
    assert shown(boards, "lake") == datetime(2026, 7, 1, 15, 0, tzinfo=UTC), "midnight in Seoul"
    late = boards.ticket("lake", PARK)
    clock.passes(seconds=4)
    assert show_now(boards, "lake", late, message()) is NotShown.STALE, "asked yesterday, written today"
    assert shown(boards, "lake") is None


def test_a_blank_board_makes_room_for_another() -> None:
    clock = Clock(3)
    boards = clock.boards(limit=2)
    for name in ("lake", "gate"):
        show_now(boards, name, boards.ticket(name, PARK), message())
    with pytest.raises(TooManyBoards):
        boards.ticket("hill", PARK)
    clock.passes(hours=7)
    boards.blank_stale()
    show_now(boards, "hill", boards.ticket("hill", PARK), message())
    assert shown(boards, "hill")
    assert len(boards) == 2


def test_watchers_see_every_board_go_blank_at_midnight() -> None:
    clock = Clock(14)
    boards = clock.boards()
    names = [f"board-{number}" for number in range(300)]

    async def watch() -> tuple[set[str], set[str]]:
        for name in names:
            show_now(boards, name, boards.ticket(name, PARK), message())
        views = boards.watch()
        lit = {view.board for view in [await anext(views) for _ in names] if view.message}
        clock.passes(hours=2)
        boards.blank_stale()
        dark = {view.board for view in [await anext(views) for _ in names] if view.message is None}
        await views.aclose()  # type: ignore[attr-defined]
        return lit, dark

    assert asyncio.run(watch()) == (set(names), set(names))
    assert boards.watchers == 0


def test_a_message_without_a_free_board_is_reported() -> None:
    clock = Clock(3)
    boards = clock.boards(limit=1)
    early = boards.ticket("hill", PARK)
    assert show_now(boards, "lake", boards.ticket("lake", PARK), message()) is None
    assert show_now(boards, "hill", early, message()) is NotShown.NO_ROOM
    assert boards.view("hill") is None
    assert not boards.had_message("hill")


def test_an_older_reading_never_replaces_a_newer_one_and_is_reported() -> None:
    boards = Clock(3).boards()
    older, younger = boards.ticket("lake", PARK), boards.ticket("lake", PARK)
    assert show_now(boards, "lake", younger, message(25)) is None
    assert show_now(boards, "lake", older, message(20)) is NotShown.OLDER
    view = boards.view("lake")
    assert view
    assert view.message
    assert view.message.today_temp == 25


def test_a_clock_that_steps_back_keeps_no_message_longer() -> None:
    clock = Clock(3)  # noon in Seoul
    boards = clock.boards()
    show_now(boards, "lake", boards.ticket("lake", PARK), message())
    clock.steps(hours=-10)
    view = boards.view("lake")
    assert view
    assert view.age == 0.0
    assert view.seconds_left == 6 * 3600
    assert view.blank_at == clock.now + timedelta(hours=6)
    clock.passes(hours=5, minutes=59)
    view = boards.view("lake")
    assert view
    assert view.age == 5 * 3600 + 59 * 60
    assert shown(boards, "lake")
    clock.passes(minutes=1)
    assert shown(boards, "lake") is None
    boards.blank_stale()
    clock.steps(hours=10)
    assert shown(boards, "lake") is None


def test_a_clock_that_steps_back_keeps_no_message_over_midnight() -> None:
    clock = Clock(13)  # 22:00 in Seoul
    boards = clock.boards()
    show_now(boards, "lake", boards.ticket("lake", PARK), message())
    clock.steps(hours=-10)
    clock.passes(hours=1, minutes=59)
    assert shown(boards, "lake")
    clock.passes(minutes=1)
    assert shown(boards, "lake") is None, "two hours have passed since 22:00, whatever the clock says"


def test_a_clock_that_steps_forward_blanks() -> None:
    clock = Clock(3)
    boards = clock.boards()
    show_now(boards, "lake", boards.ticket("lake", PARK), message())
    clock.steps(hours=6)
    assert shown(boards, "lake") is None


def test_a_step_while_the_model_writes_does_not_bring_yesterdays_message() -> None:
    clock = Clock(14)  # 23:00 in Seoul
    boards = clock.boards()
    ticket = boards.ticket("lake", PARK)
    clock.steps(hours=-10)
    clock.passes(hours=1, seconds=1)
    assert show_now(boards, "lake", ticket, message()) is NotShown.STALE


@pytest.mark.parametrize(("timezone", "hour"), [("Asia/Seoul", 15), ("Europe/Berlin", 22), ("UTC", 24)], ids=str)
def test_a_board_goes_blank_at_its_parks_midnight(timezone: str, hour: int) -> None:
    clock = Clock(12)
    boards = Boards(DEFAULT_SIGN, 24 * 3600, 1, ai_mark=True, now=lambda: clock.now, monotonic=lambda: clock.monotonic)
    show_now(boards, "lake", boards.ticket("lake", replace(PARK, timezone=timezone)), message())
    assert shown(boards, "lake") == clock.now + timedelta(hours=hour - 12)
    clock.passes(hours=hour - 12)
    assert shown(boards, "lake") is None


def test_a_board_has_the_sign_of_the_park_that_its_message_was_written_for() -> None:
    boards = Clock(3).boards()
    wide, scrolling = (replace(PARK, sign=Sign.parse(text)) for text in ("40x1", "scroll"))
    view = boards.view("lake", blank=True)
    assert view
    assert (view.columns, view.lines) == (DEFAULT_SIGN.columns, DEFAULT_SIGN.lines), "no message, no park"
    for park in (wide, scrolling, PARK):
        show_now(boards, "lake", boards.ticket("lake", park), message())
        view = boards.view("lake")
        assert view
        assert (view.columns, view.lines, view.pages) == (park.sign.columns, park.sign.lines, park.sign.pages(GOOD))
    show_now(boards, "gate", boards.ticket("gate", wide), message())
    lake, gate = boards.view("lake"), boards.view("gate")
    assert lake
    assert gate
    assert (lake.columns, gate.columns) == (20, 40), "each board has its own"


def test_an_older_reading_that_comes_late_does_not_change_the_sign() -> None:
    boards = Clock(3).boards()
    older = boards.ticket("lake", replace(PARK, sign=Sign.parse("40x1")))
    show_now(boards, "lake", boards.ticket("lake", PARK), message(25))
    assert show_now(boards, "lake", older, message()) is NotShown.OLDER
    view = boards.view("lake")
    assert view
    assert view.columns == DEFAULT_SIGN.columns


def test_a_board_says_why_there_is_no_reading_and_its_watchers_hear_it() -> None:
    async def run() -> None:
        boards = Clock(3).boards()
        boards.explain("lake", None)
        assert boards.view("lake") is None, "nothing to say"
        watch = boards.watch("lake")
        assert (await anext(watch)).no_reading is None
        for why in (NoReading.NO_YESTERDAY, None):
            boards.explain("lake", why)
            async with asyncio.timeout(5):
                assert (await anext(watch)).no_reading is why
        await watch.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())


def test_a_board_that_an_administrator_blanks_stays_blank_for_that_time() -> None:
    async def work() -> None:
        clock = Clock(3)
        boards = clock.boards()
        await boards.show("lake", boards.ticket("lake", PARK), message())
        until = boards.blank_for("lake", 600)
        assert until == clock.now + timedelta(minutes=10)
        assert shown(boards, "lake") is None
        assert boards.view_of("lake").blanked_until == until
        assert await boards.show("lake", boards.ticket("lake", PARK), message()) is NotShown.BLANKED
        clock.steps(hours=-5)  # a clock that is set back does not make it longer
        clock.passes(minutes=10)
        assert boards.view_of("lake").blanked_until is None
        assert shown(boards, "lake") is None, "the message never comes back"
        assert await boards.show("lake", boards.ticket("lake", PARK), message()) is None

    asyncio.run(work())


def test_what_an_administrator_blanked_stays_blank_in_the_database() -> None:
    kept: list[Placed] = []

    class Kept(Memory):
        async def put(self, placed: Placed) -> Placed:
            kept.append(placed)
            return placed

    async def work() -> None:
        clock = Clock(3)
        boards = clock.boards()
        boards.keeping = Kept()
        await boards.show("lake", boards.ticket("lake", PARK), message())
        boards.blank_for("lake", 600)
        await asyncio.sleep(0)
        restarted = clock.boards()
        restarted.restore("lake", kept[-1])
        assert kept[-1].id == kept[0].id
        assert shown(restarted, "lake") is None
        boards.adopt(replace(kept[0], id="by another gateway", measured_at=clock.now + timedelta(seconds=1)))
        assert shown(boards, "lake") is None

    asyncio.run(work())


def test_the_end_of_blanking_shows_the_next_message_and_tells_watchers() -> None:
    async def work() -> None:
        clock = Clock(3)
        boards = clock.boards()
        boards.blank_for("lake", 600)
        views = boards.watch("lake")
        assert (await anext(views)).blanked_until
        boards.unblank("lake")
        assert (await anext(views)).blanked_until is None
        boards.blank_for("lake", 600)
        assert (await anext(views)).blanked_until
        clock.passes(minutes=11)
        boards.blank_stale()
        assert (await anext(views)).blanked_until is None

    asyncio.run(work())


def test_a_board_that_is_kept_blank_makes_no_room_for_another() -> None:
    boards = Clock(3).boards(limit=1)
    boards.blank_for("lake", 600)
    with pytest.raises(TooManyBoards):
        boards.blank_for("hill", 600)
    boards.unblank("lake")
    boards.blank_for("hill", 600)
    assert boards.names() == ["hill"]
