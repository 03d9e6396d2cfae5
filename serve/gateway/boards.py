"""The boards: what each shows, for how long, and who watches. Nothing old is shown as today's."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from clients import SignMessage
from data.sign import Sign

HISTORY = 50  # messages a board remembers
BACKLOG = 100  # changes a slow watcher may be behind before it loses the oldest


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


@dataclass
class Board:
    """One board's state."""

    id: str
    shown: Shown | None = None
    blank_at: datetime | None = None
    newest: int = 0  # number of the youngest reading
    displayed: int = 0  # number of the reading behind the message
    history: deque[Shown] = field(default_factory=lambda: deque(maxlen=HISTORY))


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
        self._watchers: set[asyncio.Queue[BoardView]] = set()

    def __len__(self) -> int:
        return len(self._boards)

    @property
    def watchers(self) -> int:
        """How many listen for changes."""
        return len(self._watchers)

    def ticket(self, board: str) -> int:
        """Number a reading for a board, so that an older one that takes longer is never shown over it.

        Raises:
            TooManyBoards: the board is new and there is no room.
        """
        if board not in self._boards:
            if len(self._boards) >= self._limit:
                raise TooManyBoards
            self._boards[board] = Board(board)
        self._boards[board].newest += 1
        return self._boards[board].newest

    def show(self, board: str, ticket: int, message: SignMessage) -> None:
        """Put a checked message on a board, unless it shows a younger reading's."""
        state = self._boards[board]
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
        if ticket < state.displayed:
            return
        state.shown, state.displayed = shown, ticket
        state.blank_at = min(written + self._max_age, self._midnight(written))
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
        queue: asyncio.Queue[BoardView] = asyncio.Queue(BACKLOG)
        self._watchers.add(queue)
        try:
            now = list(self._boards.values()) if board is None else [self._boards.get(board, Board(board))]
            for state in now:
                yield self._view(state)
            while True:
                view = await queue.get()
                if board in (None, view.board):
                    yield view
        finally:
            self._watchers.discard(queue)

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
        view = self._view(state)
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(view)

    def _midnight(self, moment: datetime) -> datetime:
        local = moment.astimezone(self._zone)
        return (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
