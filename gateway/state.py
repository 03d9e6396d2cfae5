"""The gateway's state: one database for boards, keys, observations, what signs confirmed and the audit log.

In: the settings. Out: everything that was there before the start, and tasks that keep memory and database together.
The gateway serves from memory; the database is what survives, and what gateways share.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from core.errors import SettingError, SignboardError
from database.database import Database
from database.settings import make_default_folder
from gateway.audit import AuditLog
from gateway.board_store import BoardStore
from gateway.boards import Boards
from gateway.deliveries import DeliveryStore
from gateway.keeper import Keeper
from gateway.key_store import KeyStore
from gateway.keys import Keyring
from gateway.log import LOG
from gateway.metrics import Metrics
from gateway.settings import LOOPBACK, GatewaySettings

KEY_SECONDS = 2.0  # between two looks at the keys: a revoked one is refused after this
PRUNE_SECONDS = 24 * 3600.0


class State:
    """What the gateway keeps, and how its database is.

    Args:
        database: open.
        settings: the gateway's.
        boards: get what the database has of them.
        keyring: gets the keys.
    """

    def __init__(self, database: Database, settings: GatewaySettings, boards: Boards, keyring: Keyring) -> None:
        self.database = database
        self.audit = AuditLog(database)
        self.deliveries = DeliveryStore(database)
        self.board_store = BoardStore(database)
        self.keeper = Keeper(self.board_store, boards.adopt)
        self._boards = boards
        self._keys = KeyStore(database)
        self._keyring = keyring
        self._settings = settings
        self._unread: SignboardError | None = None  # why the last look at the keys failed

    @property
    def fault(self) -> SignboardError | None:
        """Why the database cannot be read or written now; None: it can."""
        return self.keeper.fault or self._unread

    async def load(self) -> None:
        """Take over keys and boards.

        Raises:
            DatabaseError: they could not be read.
        """
        await self._read_keys()
        await self._read_boards()
        self._boards.keeping = self.keeper

    async def follow_keys(self) -> None:
        """Look at the keys for ever; while the database is down, the known ones count."""
        while True:
            await asyncio.sleep(KEY_SECONDS)
            try:
                await self._read_keys()
            except SignboardError as error:
                if not self._unread:
                    LOG.error("the database cannot be read", extra={"why": error.what})
                self._unread = error
                continue
            self._unread = None

    async def prune(self) -> None:
        """Delete old entries of the audit log, once a day."""
        while True:
            try:
                before = datetime.now(UTC) - timedelta(days=self._settings.audit_days)
                await asyncio.to_thread(self.audit.prune, before)
            except SignboardError as error:
                LOG.warning("old entries of the audit log could not be deleted", extra={"why": error.what})
            await asyncio.sleep(PRUNE_SECONDS)

    async def _read_keys(self) -> None:
        found = await asyncio.to_thread(self._keys.all)
        self._keyring.update((one.key for one in found if one.revoked_at is None), had_any=bool(found))

    async def _read_boards(self) -> None:
        for placed in await asyncio.to_thread(self.board_store.load, self._settings.boards):
            self._boards.adopt(placed)


def open_database(settings: GatewaySettings) -> Database:
    """Open the gateway's database, and check that the gateway is not open to a network without keys.

    Raises:
        DatabaseError: it cannot be opened, or a newer program made it.
        SettingError: the gateway would be open.
    """
    make_default_folder(settings.database)
    database = Database.open(settings.database)
    try:
        if settings.host not in LOOPBACK and not settings.parsed_keys and not KeyStore(database).all():
            raise SettingError(
                f"The gateway would listen on {settings.host} without a key.",
                "Make one with `python -m gateway key NAME --store`, or put its line into SIGNBOARD_GATEWAY_KEYS.",
            )
    except BaseException:
        database.close()
        raise
    return database


@asynccontextmanager
async def keeping_state(
    settings: GatewaySettings, boards: Boards, keyring: Keyring, metrics: Metrics
) -> AsyncIterator[State]:
    """Open the database, restore what it has, and keep it for the length of a block.

    Raises:
        DatabaseError: it cannot be opened or read.
        SettingError: the gateway would be open to a network without keys.
    """
    database = await asyncio.to_thread(open_database, settings)
    try:
        state = State(database, settings, boards, keyring)
        await state.load()
        metrics.gauge("signboard_database_up", "1: the database can be read and written.", lambda: not state.fault)
        metrics.gauge("signboard_unstored", "Changes of boards that wait for it.", lambda: state.keeper.waiting)
        async with running(state.keeper.run, state.follow_keys, state.prune):
            yield state
        await state.keeper.close()
    finally:
        database.close()


@asynccontextmanager
async def running(*works: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run endless work in tasks for the length of a block."""
    tasks = [asyncio.ensure_future(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
