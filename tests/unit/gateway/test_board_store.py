"""Boards in the database: who wins, what survives, restarts and clocks that step. Also run on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.scripted_server import GOOD
from clients import SignMessage
from core.park import Element, Park
from core.reading import Reading
from core.sign import DEFAULT_SIGN, Sign
from database.database import Database
from database.faults import DatabaseError
from gateway.audit import AuditLog, What
from gateway.board_store import BoardStore, Drop
from gateway.boards import Boards, NotShown
from gateway.keeper import Keeper
from gateway.placed import Placed, Shown
from gateway.settings import HISTORY
from gateway.state import running

PARK = Park("공원", (Element("산책로"),), sign=Sign.parse("24x2"), timezone="Asia/Seoul")
NOON = datetime.now(UTC).replace(microsecond=0)  # the database judges with the clock of today
MINUTE = timedelta(minutes=1)


def placed(number: int, measured: datetime = NOON, board: str = "lake", **changed: object) -> Placed:
    text = Shown(
        generated_text=GOOD,
        yesterday_temp=10,
        today_temp=number,
        season=None,
        elements=["산책로"],
        written_at=NOON,
        tries=1,
        generation_time=0.1,
    )
    until = NOON + timedelta(hours=6)
    one = Placed(f"{board}-{number}", board, text, measured, until, PARK.sign, PARK.timezone, "", 0.0, 0.0, "park")
    return replace(one, **changed)  # type: ignore[arg-type]


# Who wins


def test_a_message_comes_back_as_it_was(database: Database) -> None:
    store, one = BoardStore(database), placed(20, boot="b", shown_at=1.5, stale_at=2.5)
    assert store.write([one]) == [one]
    assert store.one("lake") == replace(one, who=""), "the audit log has who it was"
    assert store.history("lake") == [one.shown]
    assert store.one("hill") is None
    assert store.history("hill") == []


def test_the_younger_measurement_wins_whoever_wrote_it_and_a_tie_goes_to_the_later_writer(database: Database) -> None:
    ours, theirs = BoardStore(database), BoardStore(database)
    young = placed(25, NOON)
    assert ours.write([young]) == [young]
    (winner,) = theirs.write([placed(20, NOON - MINUTE)])
    assert winner
    assert winner.id == young.id, "the older one learns what the board has"
    tie = placed(26, NOON)
    assert theirs.write([tie]) == [tie]
    assert [one.today_temp for one in ours.history("lake")] == [26, 25], "the older one is not in the history"


def test_a_message_from_the_future_is_replaced_by_any(database: Database) -> None:
    store = BoardStore(database)
    future = NOON + timedelta(hours=3)
    wrong = placed(25, future)
    store.write([replace(wrong, shown=wrong.shown.model_copy(update={"written_at": future}))])
    now = placed(20, NOON)
    assert store.write([now]) == [now]


def test_storing_twice_is_storing_once(database: Database) -> None:
    store, one = BoardStore(database), placed(20)
    store.write([one])
    store.write([replace(one, blank_at=NOON)])  # with other limits, after a clock's step
    kept = store.one("lake")
    assert kept
    assert kept.blank_at == NOON
    assert len(store.history("lake")) == 1
    assert len(list(AuditLog(database).read(NOON - MINUTE))) == 1


def test_the_history_is_bounded_and_a_dropped_board_is_gone(database: Database) -> None:
    store = BoardStore(database)
    store.write([placed(number, NOON + number * MINUTE) for number in range(-20, 40)])
    assert [one.today_temp for one in store.history("lake")] == list(range(39, 39 - HISTORY, -1))
    store.write([placed(1, board="hill"), Drop("lake", "office")])
    assert [one.board for one in store.load(10)] == ["hill"]
    entries = list(AuditLog(database).read(NOON - MINUTE))
    assert (entries[-1].who, entries[-1].what, entries[-1].subject) == ("office", What.BOARD_FORGOTTEN, "lake")
    assert {(one.who, one.what) for one in entries[:-1]} == {("park", What.READING_SHOWN)}
    assert AuditLog(database).prune(NOON + timedelta(days=1)) == len(entries)


# A gateway's life


class Clock:
    """A wall clock that tests step, and a monotonic clock."""

    def __init__(self) -> None:
        self.now = NOON
        self.monotonic = 1000.0

    def passes(self, **time: float) -> None:
        self.now += timedelta(**time)
        self.monotonic += timedelta(**time).total_seconds()

    def boards(self, boot: str = "one", max_age: float = 6 * 3600) -> Boards:
        return Boards(
            DEFAULT_SIGN, max_age, 10, ai_mark=True, now=lambda: self.now, monotonic=lambda: self.monotonic, boot=boot
        )


# Its midnight is twelve hours away, whenever the tests run.
OFFSET = (NOON.hour - 12) % 24
NOWHERE = replace(PARK, timezone=f"Etc/GMT{OFFSET:+d}" if OFFSET <= 12 else f"Etc/GMT-{24 - OFFSET}")


@asynccontextmanager
async def gateway(database: Database, clock: Clock, boot: str = "one") -> AsyncIterator[tuple[Boards, Keeper]]:
    """Run what a gateway has of boards, from the restart to the kill."""
    boards, store = clock.boards(boot), BoardStore(database, lambda: clock.now)
    keeper = Keeper(store, boards.adopt)
    for kept in store.load(10):
        boards.adopt(kept)
    boards.keeping = keeper
    async with running(keeper.run):
        yield boards, keeper


async def show(boards: Boards, today: int, park: Park = PARK, **told: object) -> NotShown | None:
    message = SignMessage(GOOD, Reading(10, today), None, 1, 0.1)
    return await boards.show("lake", boards.ticket("lake", park, **told), message)  # type: ignore[arg-type]


def today(boards: Boards) -> int | None:
    view = boards.view("lake")
    return view.message.today_temp if view and view.message else None


def test_a_board_shows_after_a_restart_what_it_showed_with_its_sign_and_history(database: Database) -> None:
    async def run() -> None:
        clock = Clock()
        async with gateway(database, clock) as (boards, _):
            assert await show(boards, 20) is None
            assert await show(boards, 21) is None
            before = boards.view("lake")
        async with gateway(database, clock) as (boards, _):
            assert boards.view("lake") == before
        assert [one.today_temp for one in BoardStore(database).history("lake")] == [21, 20]

    asyncio.run(run())


@pytest.mark.parametrize("boot", ["one", "another"])
def test_a_restart_gives_no_message_more_time(boot: str, database: Database) -> None:
    async def run() -> None:
        clock = Clock()
        async with gateway(database, clock) as (boards, _):
            await show(boards, 20, NOWHERE)
        clock.passes(hours=5)
        async with gateway(database, clock, boot) as (boards, _):
            view = boards.view("lake")
            assert view
            assert (view.age, view.seconds_left) == (5 * 3600, 3600)
        clock.passes(hours=1)
        async with gateway(database, clock, boot) as (boards, _):
            assert today(boards) is None
            assert boards.had_message("lake")

    asyncio.run(run())


def test_a_restart_gives_no_message_another_day(database: Database) -> None:
    async def run() -> None:
        clock = Clock()
        async with gateway(database, clock) as (boards, _):
            await show(boards, 20)
            view = boards.view("lake")
            assert view
            assert view.blank_at
            clock.now = view.blank_at  # midnight in Seoul, or six hours later
        async with gateway(database, clock, "another") as (boards, _):
            assert today(boards) is None

    asyncio.run(run())


@pytest.mark.parametrize("boot", ["one", "another"])
def test_a_clock_that_was_set_back_while_the_gateway_was_away_blanks_what_is_from_the_future(
    boot: str, database: Database
) -> None:
    async def run() -> None:
        clock = Clock()
        async with gateway(database, clock) as (boards, _):
            await show(boards, 20, NOWHERE)
        clock.now -= timedelta(hours=10)
        async with gateway(database, clock, boot) as (boards, _):
            assert today(boards) is None
            assert await show(boards, 21, NOWHERE) is None, "the next reading is shown at once"
            assert today(boards) == 21

    asyncio.run(run())


def test_a_clock_that_was_set_back_less_than_the_messages_age_gives_it_no_more_time_in_the_same_boot(
    database: Database,
) -> None:
    async def run() -> None:
        clock = Clock()
        async with gateway(database, clock) as (boards, _):
            await show(boards, 20, NOWHERE)
        clock.passes(hours=4)
        clock.now -= timedelta(hours=3)
        async with gateway(database, clock) as (boards, _):
            view = boards.view("lake")
            assert view
            assert (view.age, view.seconds_left) == (4 * 3600, 2 * 3600)

    asyncio.run(run())


def test_a_clock_that_is_set_back_while_the_gateway_runs_gives_no_more_time_after_a_reboot(database: Database) -> None:
    async def run() -> None:
        clock = Clock()
        async with gateway(database, clock) as (boards, keeper):
            await show(boards, 20, NOWHERE)
            clock.passes(hours=4)
            clock.now -= timedelta(hours=3)
            boards.blank_stale()
            await asyncio.sleep(0)
            while keeper.waiting:
                await asyncio.sleep(0.01)
        async with gateway(database, clock, "another") as (boards, _):
            view = boards.view("lake")
            assert view
            assert view.seconds_left == 2 * 3600, "by the clock alone it would be five hours"

    asyncio.run(run())


def test_readings_are_ordered_though_the_clock_is_set_back_a_little_between_them(database: Database) -> None:
    async def run() -> None:
        clock = Clock()
        async with gateway(database, clock) as (boards, _):
            assert await show(boards, 20) is None
            for seconds in (1, 2, 4, 60):
                clock.now -= timedelta(seconds=seconds)
                assert await show(boards, 20 + seconds % 30) is None

    asyncio.run(run())


def test_two_gateways_show_the_younger_measurement(database: Database) -> None:
    async def run() -> None:
        clock = Clock()
        async with gateway(database, clock) as (one, _), gateway(database, clock, "another") as (other, _):
            assert await show(one, 20, measured_at=NOON) is None
            assert await show(other, 15, measured_at=NOON - MINUTE) is NotShown.OLDER
            assert today(other) == 20, "it learned what the board has"

    asyncio.run(run())


# Outages


def test_while_the_database_is_down_messages_are_shown_and_stored_later_unless_a_younger_one_is_there(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise DatabaseError("The disk is full.", "Free some.")

    async def run() -> None:
        clock = Clock()
        async with gateway(database, clock) as (boards, keeper):
            await show(boards, 20)
            with monkeypatch.context() as patch:
                patch.setattr(BoardStore, "write", broken)
                for number in (21, 22):
                    clock.passes(minutes=1)
                    assert await show(boards, number) is None
                    assert keeper.fault
                assert today(boards) == 22
                assert keeper.waiting == 2
                assert await show(boards, 19, measured_at=NOON - MINUTE) is NotShown.OLDER
            BoardStore(database).write([placed(30, clock.now + timedelta(seconds=1))])  # another gateway's
            async with asyncio.timeout(30):
                while keeper.fault or keeper.waiting:
                    await asyncio.sleep(0.05)
            assert today(boards) == 30
        assert [one.today_temp for one in BoardStore(database).history("lake")] == [30, 20]

    asyncio.run(run())


def test_many_messages_at_once_are_few_commits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    real = BoardStore.write

    def counting(self: BoardStore, changes: list[Placed | Drop]) -> list[Placed | None]:
        written.append(len(changes))
        return real(self, changes)

    monkeypatch.setattr(BoardStore, "write", counting)

    async def run() -> None:
        async with gateway(database, Clock()) as (boards, _):
            assert await asyncio.gather(*(show(boards, number) for number in range(1, 31))) == [None] * 30

    asyncio.run(run())
    assert sum(written) == 30
    assert len(written) <= 3
