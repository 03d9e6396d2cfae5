"""The boards: their messages, until when each is shown, and their watchers. Stale messages are never displayed."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from clients import SignMessage
from core.park import Park, season_of
from core.season import Season
from core.sign import Sign
from gateway.settings import HISTORY
from sensors.days import NoReading


class Shown(BaseModel):
    """A message that a board shows or showed."""

    generated_text: str
    yesterday_temp: int
    today_temp: int
    season: Season | None  # what the model was told besides; null: nothing
    elements: list[str]
    written_at: datetime
    tries: int
    generation_time: float
    ai_generated: Literal[True] = True  # for machines; people read the AI mark


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


class TooManyBoards(Exception):
    """The gateway remembers no more boards."""


class NotShown(StrEnum):
    """The reasons why a board does not show a message that was written for it, worded for the caller."""

    OLDER = "it already shows the message of a newer reading"
    STALE = "the reading's day is over"
    OTHER_DAY = "it was written for another date than today's"
    NO_ROOM = "too many other boards show something"
    BLANKED = "an administrator keeps it blank"


@dataclass(frozen=True, slots=True)
class Ticket:
    """A reading's place in the order of arrival, and the day it arrived."""

    number: int
    arrived: datetime
    arrived_at: float  # monotonic seconds
    park: Park


@dataclass
class Board:
    """One board's state."""

    id: str
    shown: Shown | None = None
    shown_at: float = 0.0  # monotonic seconds
    blank_at: datetime | None = None
    stale_at: float = 0.0  # monotonic seconds
    displayed: int = 0  # number of the reading behind the message
    park: Park | None = None  # the one that the message was written for
    no_reading: NoReading | None = None
    blanked_until: datetime | None = None  # for people
    blanked_to: float = 0.0  # the same in monotonic seconds, which count
    history: deque[Shown] = field(default_factory=lambda: deque(maxlen=HISTORY))


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
        monotonic: a clock in seconds that never steps.
    """

    def __init__(
        self,
        sign: Sign,
        max_age: float,
        limit: int,
        ai_mark: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sign = sign
        self._max_age = timedelta(seconds=max_age)
        self._limit = limit
        self._ai_mark = ai_mark
        self._now = now
        self._monotonic = monotonic
        self._boards: dict[str, Board] = {}
        self._numbers = itertools.count(1)
        self._watchers: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._boards)

    @property
    def watchers(self) -> int:
        """The number of open event streams."""
        return len(self._watchers)

    def ticket(self, board: str, park: Park) -> Ticket:
        """Number a reading for a board, so that an older reading's late message never replaces its message.

        Raises:
            TooManyBoards: the board is new and every other one shows something.
        """
        if board not in self._boards and len(self._boards) >= self._limit and self._find_blank() is None:
            raise TooManyBoards
        return Ticket(next(self._numbers), self._now(), self._monotonic(), park)

    def show(self, board: str, ticket: Ticket, message: SignMessage) -> NotShown | None:
        """Put a checked message on a board; return why it is not shown, or None if it is."""
        written, at = self._now(), self._monotonic()
        midnight = _midnight(ticket.arrived, ZoneInfo(ticket.park.timezone))
        blank_at = min(written + self._max_age, midnight)
        # The same limits by the clock that never steps: the wall clock may be set back, past midnight even.
        day_ends = ticket.arrived_at + (midnight - ticket.arrived).total_seconds()
        stale_at = min(at + self._max_age.total_seconds(), day_ends)
        if blank_at <= written or stale_at <= at:
            return NotShown.STALE
        state = self._remember(board)
        if state is None:
            return NotShown.NO_ROOM
        if ticket.number < state.displayed:
            return NotShown.OLDER
        if self._is_blanked(state):
            return NotShown.BLANKED
        state.shown = Shown(
            generated_text=message.text,
            yesterday_temp=message.reading.yesterday,
            today_temp=message.reading.today,
            season=season_of(message.scene),
            elements=list(message.scene.elements) if message.scene else [],
            written_at=written,
            tries=message.tries,
            generation_time=round(message.seconds, 4),
        )
        state.history.appendleft(state.shown)
        state.displayed = ticket.number
        state.park = ticket.park
        state.shown_at = at
        state.blank_at = blank_at
        state.stale_at = stale_at
        self._tell(state)
        return None

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
        state.shown, state.blank_at = None, None
        state.blanked_until = self._now() + timedelta(seconds=seconds)
        state.blanked_to = self._monotonic() + seconds
        self._tell(state)
        return state.blanked_until

    def unblank(self, board: str) -> None:
        """Let a board show the next message again."""
        if (state := self._boards.get(board)) and state.blanked_until:
            state.blanked_until = None
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

    def history(self, board: str) -> list[Shown]:
        """Return the messages that a board showed, newest first."""
        state = self._boards.get(board)
        return list(state.history) if state else []

    def blank_stale(self) -> None:
        """Blank the boards whose message is stale, end what administrators blanked, and tell the watchers."""
        for state in self._boards.values():
            if state.blanked_until and not self._is_blanked(state):
                self.unblank(state.id)
            if state.shown and self._seconds_left(state) <= 0:
                state.shown = None
                state.blank_at = None
                self._tell(state)

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

    def _view(self, state: Board) -> BoardView:
        left = self._seconds_left(state)
        shown = state.shown if left > 0 else None
        sign = state.park.sign if state.park else self._sign
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
            timezone=state.park.timezone if state.park else None,
            no_reading=state.no_reading,
            blanked_until=state.blanked_until if self._is_blanked(state) else None,
        )

    def _is_blanked(self, state: Board) -> bool:
        return state.blanked_until is not None and self._monotonic() < state.blanked_to

    def _blank_at(self, state: Board) -> datetime | None:
        """Return when a board goes blank, as the wall clock shows it now: it may have been set back."""
        by_monotonic = self._now() + timedelta(seconds=state.stale_at - self._monotonic())
        stepped = state.blank_at is None or by_monotonic < state.blank_at - timedelta(seconds=1)
        return by_monotonic if stepped else state.blank_at

    def _seconds_left(self, state: Board) -> float:
        """Return how long a board's message may still be shown; 0 or less: it is stale, or there is none."""
        if state.shown is None or state.blank_at is None:
            return 0.0
        return min((state.blank_at - self._now()).total_seconds(), state.stale_at - self._monotonic())

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
            self._boards[name] = Board(name)
        return self._boards[name]

    def _find_blank(self) -> str | None:
        blank = (state for state in self._boards.values() if state.shown is None and not self._is_blanked(state))
        return next((state.id for state in blank), None)


def _midnight(moment: datetime, zone: ZoneInfo) -> datetime:
    local = moment.astimezone(zone)
    return (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
