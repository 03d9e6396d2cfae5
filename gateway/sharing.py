"""What several gateways on one PostgreSQL share: each hears at once which boards another one changed.

In: notifications with a board's name. Out: the board as the database has it. With SQLite there is one gateway, and
nothing to hear.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.errors import SignboardError
from database.database import Database
from database.listening import Listener
from gateway.board_store import CHANNEL, BoardStore
from gateway.boards import Boards
from gateway.log import LOG

RETRY_SECONDS = 1.0  # until a board is read again that could not be read


class BoardFeed:
    """Reads the boards that other gateways changed; `run` must be running.

    Args:
        database: a PostgreSQL.
        boards: get what it has.
        limit: the most boards to read after a connection.
    """

    def __init__(self, database: Database, boards: Boards, limit: int) -> None:
        self._store = BoardStore(database)
        self._boards = boards
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._changed: set[str] = set()
        self._all = False
        self._woken = asyncio.Event()
        self.listener = Listener(database, CHANNEL, self._told)

    async def run(self) -> None:
        """Read for ever."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            every, self._all = self._all, False
            changed, self._changed = self._changed, set()
            try:
                await self._read(changed, every=every)
            except SignboardError as error:
                LOG.warning("boards of other gateways could not be read", extra={"why": error.what})
                self._all = True
                self._woken.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, changed: set[str], *, every: bool) -> None:
        if every:
            for placed in await asyncio.to_thread(self._store.load, self._limit):
                self._boards.adopt(placed)
        else:
            for board in sorted(changed):
                self._boards.restore(board, await asyncio.to_thread(self._store.one, board))

    def _told(self, told: str | None) -> None:
        """Take a notification, in the listener's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, told)

    def _wake(self, told: str | None) -> None:
        if told is None:
            self._all = True
        else:
            id_, _, board = told.partition(":")
            if self._boards.has(board, id_):
                return  # our own
            self._changed.add(board)
        self._woken.set()


@asynccontextmanager
async def sharing_boards(database: Database, boards: Boards, limit: int) -> AsyncIterator[None]:
    """Follow what other gateways change for the length of a block, if there may be others."""
    if not database.is_postgresql:
        yield
        return
    feed = BoardFeed(database, boards, limit)
    reading = asyncio.create_task(feed.run())
    feed.listener.start()
    try:
        yield
    finally:
        await asyncio.to_thread(feed.listener.stop)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
