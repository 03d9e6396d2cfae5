"""A session of the database that a thread uses for ever: for LISTEN, and for the leader's lock."""

import threading
from collections.abc import Callable

from sqlalchemy import Connection

from core.errors import SignboardError
from database.database import Database

STOP_SECONDS = 2.0  # for the thread's end; one that waits for a cut network ends with the process


class LastingSession:
    """Uses a session in a thread, and takes a new one whenever it breaks.

    Args:
        database: open.
        name: of the thread.
        use: gets a session, and returns once `stopped` is set.
        pause: seconds before a new session is tried.
    """

    def __init__(self, database: Database, name: str, use: Callable[[Connection], None], pause: float) -> None:
        self.stopped = threading.Event()
        self._database = database
        self._use = use
        self._pause = pause
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it began."""
        self.stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                with self._database.session() as connection:
                    self._use(connection)
            except SignboardError:  # the writers say that the database is down
                self.stopped.wait(self._pause)
