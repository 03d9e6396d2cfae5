"""The boards: what each shows, for how long, and who watches. Nothing old is shown as today's."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from clients import SignMessage
from data.sign import Sign

HISTORY = 50  # messages a board remembers


class Shown(BaseModel):
    """A message as a board shows or showed it."""

    generated_text: str
    yesterday_temp: int
    today_temp: int
    written_at: datetime
    tries: int
    generation_time: float


class BoardView(BaseModel):
    """What a board shows now; `message` is null on a blank board."""

    board: str
    message: Shown | None
    age: float | None  # seconds since the message was written
    blank_at: datetime | None
    pages: list[list[str]]  # one after the other, each as its lines
    columns: int
    lines: int  # 0 scrolls
    ai_mark: bool


class TooManyBoards(Exception):
    """No more boards are remembered."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A reading's turn: which is younger, and on which day it came."""

    number: int
    arrived: datetime


@dataclass
class Board:
    """One board's state."""

    id: str
    shown: Shown | None = None
    blank_at: datetime | None = None
    displayed: int = 0  # number of the reading behind the message
    history: deque[Shown] = field(default_factory=lambda: deque(maxlen=HISTORY))


@dataclass(eq=False)
class Watcher:
    """One listener: which boards changed since it last looked. Views are made when it looks, so none is ever stale."""

    board: str | None
    changed: dict[str, None] = field(default_factory=dict)  # in order
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Boards:
    """All boards.

    Args:
        sign: how a message is laid out.
        max_age: seconds a message stays.
        timezone: at its midnight every board blanks.
        limit: how many boards are remembered.
        now: the clock, in UTC.
    """

    def __init__(
        self,
        sign: Sign,
        max_age: float,
        timezone: str,
        limit: int,
        ai_mark: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sign, self._max_age, self._zone, self._limit = sign, timedelta(seconds=max_age), ZoneInfo(timezone), limit
        self._ai_mark, self._now = ai_mark, now
        self._boards: dict[str, Board] = {}
        self._numbers = itertools.count(1)
        self._watchers: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._boards)

    @property
    def watchers(self) -> int:
        """How many listen for changes."""
        return len(self._watchers)

    def ticket(self, board: str) -> Ticket:
        """Number a reading for a board, so that an older one that takes longer is never shown over it.

        Raises:
            TooManyBoards: the board is new and every other one shows something.
        """
        if board not in self._boards and len(self._boards) >= self._limit and self._blank() is None:
            raise TooManyBoards
        return Ticket(next(self._numbers), self._now())

    def show(self, board: str, ticket: Ticket, message: SignMessage) -> None:
        """Put a checked message on a board, unless it shows a younger reading's, or the reading's day is over."""
        state = self._remember(board)
        if state is None:
            return
        written = self._now()
        shown = Shown(
            generated_text=message.text,
            yesterday_temp=message.reading.yesterday,
            today_temp=message.reading.today,
            written_at=written,
            tries=message.tries,
            generation_time=round(message.seconds, 4),
        )
        state.history.appendleft(shown)
        blank_at = min(written + self._max_age, self._midnight(ticket.arrived))
        if ticket.number < state.displayed or blank_at <= written:
            return
        state.shown, state.displayed, state.blank_at = shown, ticket.number, blank_at
        self._tell(state)

    def view(self, board: str) -> BoardView | None:
        """Return what a board shows; None if nothing was ever asked for it."""
        state = self._boards.get(board)
        return self._view(state) if state else None

    def history(self, board: str) -> list[Shown]:
        """Return a board's last messages, youngest first."""
        state = self._boards.get(board)
        return list(state.history) if state else []

    def blank_old(self) -> None:
        """Blank the boards whose time is over, and tell the watchers."""
        now = self._now()
        for state in self._boards.values():
            if state.blank_at and state.blank_at <= now:
                state.shown = state.blank_at = None
                self._tell(state)

    async def watch(self, board: str | None = None) -> AsyncIterator[BoardView]:
        """Yield every board's view now, then each change; of one board if named, blank if it is unknown."""
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
        now = self._now()
        shown = state.shown if state.blank_at and state.blank_at > now else None
        return BoardView(
            board=state.id,
            message=shown,
            age=(now - shown.written_at).total_seconds() if shown else None,
            blank_at=state.blank_at if shown else None,
            pages=self._sign.pages(shown.generated_text) if shown else [],
            columns=self._sign.columns,
            lines=self._sign.lines,
            ai_mark=self._ai_mark,
        )

    def _tell(self, state: Board) -> None:
        for watcher in self._watchers:
            if watcher.board in (None, state.id):
                watcher.changed[state.id] = None
                watcher.woken.set()

    def _remember(self, name: str) -> Board | None:
        """Return a board's state; a new one takes a blank one's place if there is no other; None without any."""
        if name not in self._boards:
            if len(self._boards) >= self._limit:
                blank = self._blank()
                if blank is None:
                    return None
                del self._boards[blank]
            self._boards[name] = Board(name)
        return self._boards[name]

    def _blank(self) -> str | None:
        return next((state.id for state in self._boards.values() if state.shown is None), None)

    def _midnight(self, moment: datetime) -> datetime:
        local = moment.astimezone(self._zone)
        return (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
