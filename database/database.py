"""The connection to the database: SQLite by default, PostgreSQL by URL; the same code for both.

In: a URL. Out: transactions. Opening brings the schema up to date.

What a transaction wrote is on the disk when its block ends: SQLite runs with a write-ahead log and synchronous=FULL, so
a commit waits for the disk, and a power cut loses at most what nobody was told of. (NORMAL would be faster and may lose
the last commits.) PostgreSQL does so unless synchronous_commit is off.
"""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from database.faults import DatabaseError, guarded
from database.schema import migrate

LOCK_SECONDS = 5.0  # how long a write waits for another one
RETRY_SECONDS = 0.02  # between attempts where SQLite does not wait by itself
DIALECTS = ("sqlite", "postgresql")


class Database:
    """An open database. Threads may share it.

    ```
    with Database.open("sqlite:////var/lib/signboard/signboard.db") as database:
        with database.writing() as connection:
            connection.execute(database.insert(TABLE).values(…))
    ```
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> "Database":
        """Connect, and bring the schema up to date.

        Raises:
            DatabaseError: the URL is unusable, the database cannot be opened, or a newer program made it.
        """
        database = cls(new_engine(url))
        try:
            with guarded(database.engine.url, "opened"):
                migrate(database.engine)
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_postgresql(self) -> bool:
        """Whether it is a PostgreSQL, which several gateways may share."""
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that reads.

        Raises:
            DatabaseError: the database could not be read.
        """
        with guarded(self.engine.url, "read"), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction; when the block ends, what it wrote is on the disk, all or nothing.

        Raises:
            DatabaseError: the database could not be written.
        """
        with guarded(self.engine.url, "written"), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """Yield a connection of its own without transactions, for LISTEN and for locks; it is closed at the end.

        Raises:
            DatabaseError: the connection broke.
        """
        with guarded(self.engine.url, "used"):
            connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                yield connection
            except self.engine.dialect.loaded_dbapi.Error as error:  # what was asked of the driver itself
                raise OperationalError(None, None, error) from error
            finally:
                connection.invalidate()  # closed, not kept for others: it holds a lock or listens
                connection.close()

    def insert(self, table: Table) -> Any:
        """Return an INSERT that knows `on_conflict_…`.

        The two dialects write it alike, yet SQLAlchemy has no common type for it.
        """
        return (postgresql.insert if self.is_postgresql else sqlite.insert)(table)


def new_engine(url: str) -> Engine:
    """Return what connects to a URL; it connects only when it is used.

    Raises:
        DatabaseError: the URL is unusable.
    """
    url = re.sub(r"^postgres(?:ql)?://", "postgresql+psycopg://", url)  # SQLAlchemy would take psycopg's predecessor
    try:
        engine = create_engine(url, **_options(url))
    except ImportError as error:
        raise DatabaseError(f"The database's driver is missing: {error}.", "pip install 'psycopg[binary]'") from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise DatabaseError(
            f"{url.rpartition('@')[2]!r} is not a usable database URL: {error}.",
            "Use one such as sqlite:///runs/signboard.db.",
        ) from error
    if engine.dialect.name not in DIALECTS:
        raise DatabaseError(f"{engine.dialect.name} is not supported.", "Use SQLite or PostgreSQL.")
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": LOCK_SECONDS}}
    # A database that was restarted is asked again, and one behind a cut network is given up, not waited for.
    cut = {"connect_timeout": LOCK_SECONDS, "tcp_user_timeout": round(2 * LOCK_SECONDS * 1000)}
    return {"pool_pre_ping": True, "connect_args": cut if url.startswith("postgresql+psycopg:") else {}}


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch a database to its write-ahead log; of programs that open a new one at once, the later ones wait.

    SQLite itself does not wait here while another connection writes, whatever the timeout.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_SECONDS)


def _begin_sqlite(connection: Connection) -> None:
    # A migration takes the write lock at once: of two programs that open a new database the second one waits.
    migrates = connection.get_execution_options().get("migrates")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if migrates else "BEGIN")
