"""PostgreSQL's LISTEN: one gateway hears at once what another one changed.

A notification carries a name only; who hears it reads the database. What is missed while the connection is away is not
sent again, so each connection begins with None: everything may have changed.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from database.database import Database
from database.session import LastingSession

QUIET_SECONDS = 3.0  # after which the connection is tried
RETRY_SECONDS = 1.0


class Listener:
    """Listens to one channel in a thread, and connects again for ever.

    Args:
        database: a PostgreSQL.
        channel: its name.
        told: called in the thread with what was sent, or None after each connection; must return at once.
    """

    def __init__(self, database: Database, channel: str, told: Callable[[str | None], None]) -> None:
        self._channel = channel
        self._told = told
        self._session = LastingSession(database, f"listen-{channel}", self._listen, RETRY_SECONDS)

    def start(self) -> None:
        """Begin to listen."""
        self._session.start()

    def stop(self) -> None:
        """End the thread."""
        self._session.stop()

    def _listen(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"LISTEN {self._channel}")
        self._told(None)
        driver: Any = connection.connection.driver_connection
        while not self._session.stopped.is_set():
            for notification in driver.notifies(timeout=QUIET_SECONDS / 3):
                self._told(notification.payload)
            connection.execute(text("SELECT 1"))  # a cut connection looks like a quiet one
