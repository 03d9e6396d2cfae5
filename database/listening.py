"""PostgreSQL's LISTEN: one gateway hears at once what another one changed.

A notification carries a name only; who hears it reads the database. What is missed while the connection is away is not
sent again, so each connection begins with None: everything may have changed.
"""

import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from core.errors import SignboardError
from database.database import Database

QUIET_SECONDS = 3.0  # after which the connection is tried
RETRY_SECONDS = 1.0
STOP_SECONDS = 2.0  # for the thread's end; one that waits for a cut network ends with the process


class Listener:
    """Listens to one channel in a thread, and connects again for ever.

    Args:
        database: a PostgreSQL.
        channel: its name.
        told: called in the thread with what was sent, or None after each connection; must return at once.
    """

    def __init__(self, database: Database, channel: str, told: Callable[[str | None], None]) -> None:
        self._database = database
        self._channel = channel
        self._told = told
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"listen-{channel}", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except SignboardError:  # the writers say that the database is down
                self._stopped.wait(RETRY_SECONDS)

    def _listen(self) -> None:
        with self._database.session() as connection:
            connection.exec_driver_sql(f"LISTEN {self._channel}")
            self._told(None)
            driver: Any = connection.connection.driver_connection
            while not self._stopped.is_set():
                for notification in driver.notifies(timeout=QUIET_SECONDS / 3):
                    self._told(notification.payload)
                connection.execute(text("SELECT 1"))  # a cut connection looks like a quiet one
