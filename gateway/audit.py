"""The audit log: who changed what, and when. Kept in the database for some time, read by `python -m gateway audit`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, String, Table, delete, insert, select

from database.database import Database
from database.schema import METADATA, UtcTime

AUDIT = Table(
    "audit",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("who", String, nullable=False),  # a key's name, or the command line's user
    Column("what", String, nullable=False),
    Column("subject", String, nullable=False),  # the board, the key or the sign
    Column("detail", String, nullable=False),
    Index("ix_audit_at", "at"),
)


class What(StrEnum):
    """What is audited."""

    KEY_ADDED = "key added"
    KEY_REVOKED = "key revoked"
    READING_SHOWN = "reading shown"  # a key's reading became a board's message
    BOARD_FORGOTTEN = "board forgotten"
    SIGN_BLANKED = "sign blanked"
    SIGN_UNBLANKED = "sign unblanked"
    BOARD_BLANKED = "board blanked"
    BOARD_UNBLANKED = "board unblanked"
    MESSAGE_REQUESTED = "message requested"  # by an administrator


@dataclass(frozen=True, slots=True)
class Entry:
    """One change."""

    at: datetime
    who: str
    what: What
    subject: str
    detail: str = ""


def note(connection: Connection, *entries: Entry) -> None:
    """Write entries in the transaction of what they tell of, so that neither is there without the other."""
    if entries:
        connection.execute(insert(AUDIT), [_row(entry) for entry in entries])


class AuditLog:
    """The audit log of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, *entries: Entry) -> None:
        """Write entries.

        Raises:
            DatabaseError: they could not be written.
        """
        with self._database.writing() as connection:
            note(connection, *entries)

    def read(self, since: datetime, who: str | None = None, subject: str | None = None) -> Iterator[Entry]:
        """Return the entries since a time, the oldest first.

        Raises:
            DatabaseError: they could not be read.
        """
        query = select(AUDIT).where(AUDIT.c.at >= since).order_by(AUDIT.c.number)
        for column, wanted in ((AUDIT.c.who, who), (AUDIT.c.subject, subject)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._database.reading() as connection:
            for row in connection.execute(query):
                yield Entry(row.at, row.who, What(row.what), row.subject, row.detail)

    def prune(self, older_than: datetime) -> int:
        """Delete the entries before a time; return how many.

        Raises:
            DatabaseError: they could not be deleted.
        """
        with self._database.writing() as connection:
            return connection.execute(delete(AUDIT).where(AUDIT.c.at < older_than)).rowcount


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at,
        "who": entry.who,
        "what": entry.what,
        "subject": entry.subject,
        "detail": entry.detail,
    }
