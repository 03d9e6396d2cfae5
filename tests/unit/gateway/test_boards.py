"""Boards: which message is shown and for how long, and the reasons why one is not shown."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.scripted_server import (
    GOOD,
)
from clients import SignMessage
from core.reading import Reading
from core.sign import DEFAULT_SIGN
from gateway.boards import Boards, NotShown, TooManyBoards
from gateway.settings import HISTORY


def message(today: int = 20) -> SignMessage:
    return SignMessage(GOOD, Reading(10, today), 1, 0.1)


class Clock:
    """A clock that tests set."""

    def __init__(self, hour: int) -> None:
        self.now = datetime(2026, 7, 1, hour, tzinfo=UTC)

    def boards(self, limit: int = 1000) -> Boards:
        return Boards(DEFAULT_SIGN, 6 * 3600, "Asia/Seoul", limit, ai_mark=True, now=lambda: self.now)


def shown(boards: Boards, board: str) -> datetime | None:
    """Return until when a board shows something; None: it is blank."""
    view = boards.view(board)
    assert view
    assert (view.message is None) == (view.blank_at is None) == (view.age is None) == (view.pages == [])
    return view.blank_at


def test_stale_messages_are_never_displayed() -> None:
    clock = Clock(3)  # noon in Seoul
    boards = clock.boards()
    boards.show("lake", boards.ticket("lake"), message())
    assert shown(boards, "lake") == clock.now + timedelta(hours=6)
    clock.now += timedelta(hours=7)  # 19:00
    assert shown(boards, "lake") is None
    clock.now = datetime(2026, 7, 1, 14, 59, 58, tzinfo=UTC)  # two seconds to midnight
    boards.show("lake", boards.ticket("lake"), message())
    assert shown(boards, "lake") == datetime(2026, 7, 1, 15, 0, tzinfo=UTC), "midnight in Seoul"
    late = boards.ticket("lake")
    clock.now += timedelta(seconds=4)
    assert boards.show("lake", late, message()) is NotShown.STALE, "asked yesterday, written today"
    assert shown(boards, "lake") is None
    assert len(boards.history("lake")) == 2, "the history has what was shown"
    for _ in range(HISTORY + 10):
        boards.show("lake", boards.ticket("lake"), message())
    assert len(boards.history("lake")) == HISTORY


def test_a_blank_board_makes_room_for_another() -> None:
    clock = Clock(3)
    boards = clock.boards(limit=2)
    for name in ("lake", "gate"):
        boards.show(name, boards.ticket(name), message())
    with pytest.raises(TooManyBoards):
        boards.ticket("hill")
    clock.now += timedelta(hours=7)
    boards.blank_stale()
    boards.show("hill", boards.ticket("hill"), message())
    assert shown(boards, "hill")
    assert len(boards) == 2


def test_watchers_see_every_board_go_blank_at_midnight() -> None:
    clock = Clock(14)
    boards = clock.boards()
    names = [f"board-{number}" for number in range(300)]

    async def watch() -> tuple[set[str], set[str]]:
        for name in names:
            boards.show(name, boards.ticket(name), message())
        views = boards.watch()
        lit = {view.board for view in [await anext(views) for _ in names] if view.message}
        clock.now += timedelta(hours=2)
        boards.blank_stale()
        dark = {view.board for view in [await anext(views) for _ in names] if view.message is None}
        await views.aclose()  # type: ignore[attr-defined]
        return lit, dark

    assert asyncio.run(watch()) == (set(names), set(names))
    assert boards.watchers == 0


def test_a_message_without_a_free_board_is_reported_and_not_in_the_history() -> None:
    clock = Clock(3)
    boards = clock.boards(limit=1)
    early = boards.ticket("hill")
    assert boards.show("lake", boards.ticket("lake"), message()) is None
    assert boards.show("hill", early, message()) is NotShown.NO_ROOM
    assert boards.view("hill") is None
    assert boards.history("hill") == []


def test_an_older_reading_never_replaces_a_newer_one_and_is_reported() -> None:
    boards = Clock(3).boards()
    older, younger = boards.ticket("lake"), boards.ticket("lake")
    assert boards.show("lake", younger, message(25)) is None
    assert boards.show("lake", older, message(20)) is NotShown.OLDER
    assert [entry.today_temp for entry in boards.history("lake")] == [25]
