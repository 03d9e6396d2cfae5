"""What a database's errors are called here: one sentence on what is wrong, one on what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from core.errors import SignboardError

REMEDIES = {
    "SQLITE_FULL": "Free disk space or shorten the retention; what was acknowledged is safe.",
    "SQLITE_BUSY": "Close the other program that writes to it, then retry.",
    "SQLITE_LOCKED": "Close the other program that writes to it, then retry.",
    "SQLITE_CANTOPEN": "Create its folder, and let this user write there.",
    "SQLITE_CORRUPT": "Move the file away and copy the last backup to its place.",
    "SQLITE_NOTADB": "Check the setting: the file is no SQLite database. If it was one, restore the last backup.",
    "SQLITE_READONLY": "Let this user write to the file and its folder.",
    "SQLITE_IOERR": "Check the disk (dmesg), then retry.",
}


class DatabaseError(SignboardError):
    """The database cannot be opened, read or written; nothing that was acknowledged is lost."""


@contextmanager
def guarded(url: URL, done: str) -> Iterator[None]:
    """Turn a database's errors into ours.

    Raises:
        DatabaseError: the block could not use the database; `done` says what could not be done to it.
    """
    try:
        yield
    except (DBAPIError, NoConnectionFree, sqlite3.Error, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        place = url.render_as_string(hide_password=True)
        raise DatabaseError(f"The database {place} cannot be {done}: {cause}.", _remedy(cause)) from error


def _remedy(cause: BaseException | None) -> str:
    name = str(getattr(cause, "sqlite_errorname", ""))
    fitting = (todo for code, todo in REMEDIES.items() if name.startswith(code))
    return next(fitting, "Check that the database runs and that this user may use it, then retry.")
