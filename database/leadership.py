"""Which of several gateways leads: the one that holds an advisory lock of PostgreSQL. A gateway alone always leads.

The lock belongs to a connection. If its holder is killed, PostgreSQL frees it at once; if the network between them is
cut, after IDLE_SECONDS, because the holder asks for the end of a session that is idle for longer. A holder that hears
nothing for HELD_SECONDS, which is less, counts itself out: there are never two, as long as both count seconds alike.
"""

import time
from collections.abc import Callable

from sqlalchemy import Connection, text

from database.database import Database
from database.session import LastingSession

LOCK = 5307_2027  # any number; the migrations have another one
BEAT_SECONDS = 0.5  # between two looks at the lock
HELD_SECONDS = 2.5  # for which an answer counts
IDLE_SECONDS = 4  # after which PostgreSQL ends a session that asks nothing, and frees its lock


class Leadership:
    """Tries to lead, in a thread, for ever.

    Args:
        database: the gateways' common one.
        alone: there is only this gateway, which leads whether the database is up or down.
        monotonic: a clock in seconds that never steps.
    """

    def __init__(self, database: Database, *, alone: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._alone = alone
        self._monotonic = monotonic
        self._until = 0.0  # monotonic seconds
        self._session = LastingSession(database, "leadership", self._hold, BEAT_SECONDS)

    @property
    def leads(self) -> bool:
        """Whether this gateway leads now."""
        return self._alone or self._monotonic() < self._until

    def start(self) -> None:
        """Begin to try."""
        if not self._alone:
            self._session.start()

    def stop(self) -> None:
        """Free the lock for another gateway."""
        self._session.stop()

    def _hold(self, connection: Connection) -> None:
        try:
            connection.exec_driver_sql(f"SET idle_session_timeout = '{IDLE_SECONDS}s'")
            held = False
            while not self._session.stopped.wait(BEAT_SECONDS):
                asked = self._monotonic()
                question = text("SELECT true") if held else text("SELECT pg_try_advisory_lock(:lock)")
                held = bool(connection.scalar(question, {} if held else {"lock": LOCK}))
                if held:
                    self._until = asked + HELD_SECONDS
        finally:
            self._until = 0.0
