"""The boards: their messages, until when each is shown, and their watchers. Stale messages are never displayed.

In: checked messages, and what the database has of earlier ones. Out: views. A message counts as shown once the
database has it, or once the database is known to be down.
"""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from clients import SignMessage
from core.park import Park, season_of
from core.sign import Sign
from gateway.blanking import Blanking
from gateway.placed import CLOCKS_DIFFER, Placed, Shown
from sensors.days import NoReading

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MICROSECOND = datetime.resolution


class BoardView(BaseModel):
    """A board's current view; `message` is null on a blank board."""

    board: str
    message: Shown | None
    age: float | None  # seconds since the message was written, by the monotonic clock
    blank_at: datetime | None
    seconds_left: float | None  # until the message is stale, by the wall clock or the monotonic one, whichever is first
    pages: list[list[str]]  # shown in turn, each as its lines
    columns: int
    lines: int  # 0 scrolls
    ai_mark: bool
    timezone: str | None  # of the park that the last message was written for; null: there was none
    no_reading: NoReading | None  # why the park's sensors give no reading now; null: they do, or there are none
    blanked_until: datetime | None  # until when an administrator keeps it blank; null: nobody does

    @property
    def sign(self) -> Sign:
        """The sign that its pages are laid out for, in cells."""
        return Sign(self.columns, self.lines)


@dataclass(frozen=True, slots=True)
class Glance:
    """What metrics say of a board: its message's age in seconds (None: it is blank), and why it has no reading."""

    age: float | None
    no_reading: NoReading | None
    blanked: bool


class TooManyBoards(Exception):
    """The gateway remembers no more boards."""


class NotShown(StrEnum):
    """The reasons why a board does not show a message that was written for it, worded for the caller."""

    OLDER = "it already shows the message of a newer reading"
    STALE = "the reading's day is over"
    OTHER_DAY = "it was written for another date than today's"
    NO_ROOM = "too many other boards show something"
    BLANKED = "an administrator keeps it blank"


class Keeping(Protocol):
    """What keeps the boards beyond this process."""

    async def put(self, placed: Placed) -> Placed:
        """Keep a message; return the one that the board has now: this one, or a younger one that was there."""

    def drop(self, board: str, who: str = "") -> None:
        """Forget a board and its history; `who`: the key that wants it, empty: the limit of boards."""


class Memory:
    """Keeps nothing: boards without a database, for tests and tools."""

    async def put(self, placed: Placed) -> Placed:
        """Return the message."""
        return placed

    def drop(self, board: str, who: str = "") -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A reading's place in the order of measurement, and the day it arrived.

    Args:
        measured_at: when it was measured; a posted reading: when it arrived.
        arrived: by the wall clock.
        arrived_at: in monotonic seconds.
        park: the one that it belongs to.
        who: the key that posted it; empty: sensors.
    """

    measured_at: datetime
    arrived: datetime
    arrived_at: float
    park: Park
    who: str = ""


@dataclass
class Board:
    """One board's state."""

    id: str
    placed: Placed | None = None  # the last message, stale or not
    lit: bool = False  # it is shown; False: the board is blank
    writing: int = 0  # messages that wait for the database: the board's place is taken
    shown_at: float = 0.0  # monotonic seconds
    blank_at: datetime | None = None
    stale_at: float = 0.0  # monotonic seconds
    no_reading: NoReading | None = None
    blanking: Blanking = field(default_factory=Blanking)


@dataclass(eq=False)
class Watcher:
    """One listener: the boards that changed since it last looked. It builds views only then, so none is ever stale."""

    board: str | None
    changed: dict[str, None] = field(default_factory=dict)  # in order
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Boards:
    """All boards.

    Args:
        sign: of a board that never showed anything; a message is laid out for its park's sign.
        max_age: seconds until a message is stale.
        limit: the most boards to remember.
        ai_mark: whether the page says that an AI wrote the message.
        now: the wall clock, in UTC. It may step, in either direction.
        monotonic: a clock in seconds that never steps, and that all programs of this boot share.
        boot: names this boot of the machine; empty: unknown.
    """

    def __init__(
        self,
        sign: Sign,
        max_age: float,
        limit: int,
        ai_mark: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        boot: str = "",
    ) -> None:
        self.keeping: Keeping = Memory()
        self._sign = sign
        self._max_age = timedelta(seconds=max_age)
        self._limit = limit
        self._ai_mark = ai_mark
        self._now = now
        self._monotonic = monotonic
        self._boot = boot
        self._boards: dict[str, Board] = {}
        self._last_arrival = datetime.min.replace(tzinfo=UTC)
        self._watchers: set[Watcher] = set()
        self._corrections: set[asyncio.Task[Placed]] = set()

    def __len__(self) -> int:
        return len(self._boards)

    @property
    def watchers(self) -> int:
        """The number of open event streams."""
        return len(self._watchers)

    def ticket(self, board: str, park: Park, measured_at: datetime | None = None, who: str = "") -> Ticket:
        """Date a reading for a board, so that an older reading's late message never replaces its message.

        Raises:
            TooManyBoards: the board is new and every other one shows something.
        """
        if board not in self._boards and len(self._boards) >= self._limit and self._find_blank() is None:
            raise TooManyBoards
        now, at = self._now(), self._monotonic()
        arrival = self._arrival(now)
        return Ticket(min(measured_at or arrival, arrival), now, at, park, who)

    async def show(self, board: str, ticket: Ticket, message: SignMessage) -> NotShown | None:
        """Put a checked message on a board; return why it is not shown, or None if it is."""
        placed = self._placed(board, ticket, message)
        if placed.blank_at <= placed.shown.written_at or placed.stale_at <= placed.shown_at:
            return NotShown.STALE
        state = self._remember(board)
        if state is None:
            return NotShown.NO_ROOM
        if not placed.beats(state.placed, self._now()):
            return NotShown.OLDER
        if self._blanked_until(state):
            return NotShown.BLANKED
        state.writing += 1
        try:
            winner = await self.keeping.put(placed)
        finally:
            state.writing -= 1
        self.adopt(winner)
        return None if winner.id == placed.id else NotShown.OLDER

    def adopt(self, placed: Placed) -> None:
        """Take over what the database has for a board, if it is not older than what the board has."""
        state = self._remember(placed.board)
        if state is None or not placed.beats(state.placed, self._now()):
            return
        self._light(state, placed)
        self._tell(state)

    def restore(self, board: str, placed: Placed | None) -> None:
        """Take over what the database has of a board. None: it was forgotten."""
        if placed is None:
            self._drop(board)
        else:
            self.adopt(placed)

    def has(self, board: str, id_: str) -> bool:
        """Return whether a board has this message."""
        state = self._boards.get(board)
        return bool(state and state.placed and state.placed.id == id_)

    def forget(self, board: str, who: str) -> bool:
        """Blank a board and forget it with its history; return whether it was known."""
        known = board in self._boards
        if known:
            self._drop(board)
            self.keeping.drop(board, who)
        return known

    def explain(self, board: str, why: NoReading | None) -> None:
        """Say on a board's view why its sensors give no reading; None: they do. Its message stays until it is stale."""
        known = self._boards[board].no_reading if board in self._boards else None
        if known is not why and (state := self._remember(board)):
            state.no_reading = why
            self._tell(state)

    def blank_for(self, board: str, seconds: float) -> datetime:
        """Blank a board, and show no message on it for so long; return until when. Its message never comes back.

        Raises:
            TooManyBoards: the board is new and there is no room.
        """
        state = self._remember(board)
        if state is None:
            raise TooManyBoards
        if state.lit:
            self._correct(state, self._now())  # or a restart, or another gateway, would show it again
        state.lit, state.blank_at = False, None
        until = state.blanking.begin(seconds, self._now(), self._monotonic())
        self._tell(state)
        return until

    def unblank(self, board: str) -> None:
        """Let a board show the next message again."""
        if (state := self._boards.get(board)) and state.blanking.ends:
            state.blanking.end()
            self._tell(state)

    def names(self) -> list[str]:
        """Return the boards in memory."""
        return list(self._boards)

    def view(self, board: str, *, blank: bool = False) -> BoardView | None:
        """Return what a board shows; None, or a blank view if `blank`, for a board that never showed anything."""
        state = self._boards.get(board) or (Board(board) if blank else None)
        return self._view(state) if state else None

    def view_of(self, board: str) -> BoardView:
        """Return what a board shows; a blank view for one that never showed anything."""
        return self._view(self._boards.get(board) or Board(board))

    def glance(self, board: str) -> Glance:
        """Return what metrics say of a board: as `view`, without laying out its message."""
        state = self._boards.get(board) or Board(board)
        shows = state.placed is not None and self._seconds_left(state) > 0
        age = max(0.0, self._monotonic() - state.shown_at) if shows else None
        return Glance(age, state.no_reading, self._blanked_until(state) is not None)

    def had_message(self, board: str) -> bool:
        """Return whether a board ever had a message."""
        state = self._boards.get(board)
        return bool(state and state.placed)

    def blank_stale(self) -> None:
        """Blank the boards whose message is stale, end what administrators blanked, tell the watchers.

        Limits that a clock's step changed are kept.
        """
        for state in self._boards.values():
            if state.blanking.ends and not self._blanked_until(state):
                self.unblank(state.id)
            if state.lit and self._seconds_left(state) <= 0:
                state.lit = False
                state.blank_at = None
                self._tell(state)
            elif state.lit and state.placed and self._stepped_back(state):
                # After a reboot only the wall clock counts: without this the message would be shown for longer.
                state.blank_at = self._blank_at(state)
                self._correct(state, state.blank_at or state.placed.blank_at)

    def _correct(self, state: Board, blank_at: datetime) -> None:
        """Keep another limit of a board's message, in the database, too."""
        if state.placed is None:
            return
        state.placed = replace(state.placed, blank_at=blank_at)
        task = asyncio.get_running_loop().create_task(_kept(self.keeping, state.placed))
        self._corrections.add(task)
        task.add_done_callback(self._corrections.discard)

    async def watch(self, board: str | None = None) -> AsyncIterator[BoardView]:
        """Yield every board's view now and at each change; with a name only that board's, blank if unknown."""
        watcher = Watcher(board, dict.fromkeys(self._boards if board is None else [board]))
        self._watchers.add(watcher)
        try:
            while True:
                while watcher.changed:
                    name = next(iter(watcher.changed))
                    del watcher.changed[name]
                    yield self._view(self._boards.get(name, Board(name)))
                watcher.woken.clear()
                await watcher.woken.wait()
        finally:
            self._watchers.discard(watcher)

    def _arrival(self, now: datetime) -> datetime:
        """Return when a posted reading arrived: after the one before it, also if the clock was set back a little."""
        last = self._last_arrival
        self._last_arrival = last + MICROSECOND if now <= last <= now + CLOCKS_DIFFER else now
        return self._last_arrival

    def _placed(self, board: str, ticket: Ticket, message: SignMessage) -> Placed:
        written, at = self._now(), self._monotonic()
        midnight = _midnight(ticket.arrived, ZoneInfo(ticket.park.timezone))
        # The same limits by the clock that never steps: the wall clock may be set back, past midnight even.
        day_ends = ticket.arrived_at + (midnight - ticket.arrived).total_seconds()
        return Placed(
            id=uuid.uuid4().hex,
            board=board,
            shown=Shown(
                generated_text=message.text,
                yesterday_temp=message.reading.yesterday,
                today_temp=message.reading.today,
                season=season_of(message.scene),
                elements=list(message.scene.elements) if message.scene else [],
                written_at=written,
                tries=message.tries,
                generation_time=round(message.seconds, 4),
            ),
            measured_at=ticket.measured_at,
            blank_at=min(written + self._max_age, midnight),
            sign=ticket.park.sign,
            timezone=ticket.park.timezone,
            boot=self._boot,
            shown_at=at,
            stale_at=min(at + self._max_age.total_seconds(), day_ends),
            who=ticket.who,
        )

    def _light(self, state: Board, placed: Placed) -> None:
        """Show a message for as long as both clocks allow; one that was written earlier, or elsewhere, too."""
        now, at = self._now(), self._monotonic()
        age = max(0.0, (now - placed.shown.written_at).total_seconds())
        state.placed = placed
        state.blank_at = min(placed.blank_at, placed.shown.written_at + self._max_age)
        if placed.boot and placed.boot == self._boot:
            state.shown_at, state.stale_at = placed.shown_at, placed.stale_at
        else:
            left = state.blank_at - max(now, placed.shown.written_at)
            state.shown_at, state.stale_at = at - age, at + left.total_seconds()
        in_time = not placed.is_from_future(now) and self._left(state.blank_at, state) > 0
        state.lit = in_time and not self._blanked_until(state)

    def _view(self, state: Board) -> BoardView:
        left = self._seconds_left(state)
        placed = state.placed
        shown = placed.shown if placed and left > 0 else None
        sign = placed.sign if placed else self._sign
        return BoardView(
            board=state.id,
            message=shown,
            age=max(0.0, self._monotonic() - state.shown_at) if shown else None,
            blank_at=self._blank_at(state) if shown else None,
            seconds_left=left if shown else None,
            pages=sign.pages(shown.generated_text) if shown else [],
            columns=sign.columns,
            lines=sign.lines,
            ai_mark=self._ai_mark,
            timezone=placed.timezone if placed else None,
            no_reading=state.no_reading,
            blanked_until=self._blanked_until(state),
        )

    def _blanked_until(self, state: Board) -> datetime | None:
        return state.blanking.until(self._monotonic())

    def _blank_at(self, state: Board) -> datetime | None:
        """Return when a board goes blank, as the wall clock shows it now: it may have been set back."""
        return self._by_monotonic(state) if self._stepped_back(state) else state.blank_at

    def _stepped_back(self, state: Board) -> bool:
        return state.blank_at is None or self._by_monotonic(state) < state.blank_at - timedelta(seconds=1)

    def _by_monotonic(self, state: Board) -> datetime:
        return self._now() + timedelta(seconds=state.stale_at - self._monotonic())

    def _seconds_left(self, state: Board) -> float:
        """Return how long a board's message may still be shown; 0 or less: it is stale, or there is none."""
        return self._left(state.blank_at, state) if state.lit and state.blank_at else 0.0

    def _left(self, blank_at: datetime, state: Board) -> float:
        return min((blank_at - self._now()).total_seconds(), state.stale_at - self._monotonic())

    def _tell(self, state: Board) -> None:
        for watcher in self._watchers:
            if watcher.board in (None, state.id):
                watcher.changed[state.id] = None
                watcher.woken.set()

    def _remember(self, name: str) -> Board | None:
        """Return a board's state; at the limit a new board replaces a blank one, or is rejected with None."""
        if name not in self._boards:
            if len(self._boards) >= self._limit:
                blank = self._find_blank()
                if blank is None:
                    return None
                del self._boards[blank]
                self.keeping.drop(blank)
            self._boards[name] = Board(name)
        return self._boards[name]

    def _drop(self, board: str) -> None:
        if state := self._boards.pop(board, None):
            self._tell(state)  # watchers build their view when they look: a blank one

    def _find_blank(self) -> str | None:
        blank = (state for state in self._boards.values() if not state.lit and not state.writing)
        return next((state.id for state in blank if not self._blanked_until(state)), None)


def boot_of_machine() -> str:
    """Return what names this boot of the machine; empty: the system does not say.

    systemd tells it to a service that may not read it (ProcSubset=pid).
    """
    try:
        told = os.environ.get("BOOT_ID") or BOOT_ID.read_text(encoding="ascii")
    except OSError:
        return ""
    return told.strip().replace("-", "")


async def _kept(keeping: Keeping, placed: Placed) -> Placed:
    return await keeping.put(placed)


def _midnight(moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone)
    return (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
