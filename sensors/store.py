"""The store: checked observations in a database, SQLite by default.

In: a URL and `Checked` observations. Out: the same, by sensor and time. Opening brings the tables up to date (alembic).

What `add` and `add_many` return is on the disk: SQLite runs with a write-ahead log and synchronous=FULL, so a commit
waits for the disk, and a power cut loses at most what nobody was told of. (NORMAL would be faster and may lose the last
commits.) One transaction for many observations keeps that cheap. PostgreSQL does so unless synchronous_commit is off.
"""

import math
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any, cast

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Double,
    Engine,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Row,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.types import TypeDecorator

from core.errors import SignboardError
from sensors.observation import Observation
from sensors.quality import Checked, Flag, Reason

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_SECONDS = 5.0  # how long a write waits for another one
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DIALECTS = ("sqlite", "postgresql")
MIGRATION_LOCK = 5307_2026  # any number: of two programs that open a new PostgreSQL database the second one waits
MIGRATING = Lock()  # alembic's environment is one for the whole process


class SensorStoreError(SignboardError):
    """The store cannot be opened, read or written; nothing that was acknowledged is lost."""


class UtcTime(TypeDecorator[datetime]):
    """An aware time as microseconds since 1970: exact, small, and the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002, D102
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        return None if value is None else EPOCH + value * MICROSECOND


METADATA = MetaData()
OBSERVATIONS = Table(
    "observations",
    METADATA,
    Column("sensor", String, nullable=False),
    Column("key", String, nullable=False),
    Column("measured_at", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("timed", Boolean, nullable=False),
    Column("value", Double),  # °C; SQLite keeps NaN as NULL
    Column("flag", String, nullable=False),
    Column("reasons", String, nullable=False),  # with commas
    Column("deviation", Double),  # °C from the park's other sensors
    PrimaryKeyConstraint("sensor", "key", name="pk_observations"),
    Index("ix_observations_sensor_measured_at", "sensor", "measured_at"),
)
# What a persistent session at a broker is subscribed to: the broker remembers it, and tells nobody.
SUBSCRIPTIONS = Table(
    "subscriptions",
    METADATA,
    Column("session", String, nullable=False),
    Column("topic", String, nullable=False),
    PrimaryKeyConstraint("session", "topic", name="pk_subscriptions"),
)

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


class SensorStore:
    """Observations on the disk.

    ```
    with SensorStore.open("sqlite:////var/lib/signboard/sensors.db") as store:
        store.add(checked)
        store.between("lake-1", yesterday, now)
    ```
    Threads may share one store.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> "SensorStore":
        """Connect, and bring the tables up to date.

        Raises:
            SensorStoreError: the URL is unusable, the database cannot be opened, or a newer version made it.
        """
        store = cls(_engine(url))
        try:
            with store._guarded("opened"):
                _migrate(store._engine)
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> "SensorStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, checked: Checked) -> bool:
        """Keep one observation; return whether it is new. When this returns, it is on the disk.

        Raises:
            SensorStoreError: it could not be written.
        """
        return self.add_many([checked])[0]

    def add_many(self, checked: Sequence[Checked]) -> list[bool]:
        """Keep many observations in one transaction, all or none; return for each whether its key is new.

        Raises:
            SensorStoreError: they could not be written; none of them was.
        """
        if not checked:
            return []
        with self._guarded("written"), self._engine.begin() as connection:
            new = {tuple(row) for row in connection.execute(self._insert(), [_row(one) for one in checked])}
        return [_take(new, (one.observation.sensor, one.observation.key)) for one in checked]

    def between(self, sensor: str, start: datetime, end: datetime) -> list[Checked]:
        """Return what a sensor measured from `start` to before `end`, in the order of measurement.

        Raises:
            SensorStoreError: it could not be read.
        """
        table = OBSERVATIONS.c
        query = (
            select(OBSERVATIONS)
            .where(table.sensor == sensor, table.measured_at >= start, table.measured_at < end)
            .order_by(table.measured_at, table.received_at)
        )
        with self._guarded("read"), self._engine.connect() as connection:
            return [_checked(row) for row in connection.execute(query)]

    def latest(self, sensor: str, *, good: bool = False) -> Checked | None:
        """Return the observation that was measured last, or the last good one; None if there is none.

        One that claims to be from the future is none: a clock that was once ahead would hide all others.

        Raises:
            SensorStoreError: it could not be read.
        """
        table = OBSERVATIONS.c
        in_time = table.reasons.not_like(f"%{Reason.FUTURE}%")
        query = select(OBSERVATIONS).where(table.sensor == sensor, in_time).order_by(table.measured_at.desc()).limit(1)
        if good:
            query = query.where(table.flag == Flag.GOOD)
        with self._guarded("read"), self._engine.connect() as connection:
            row = connection.execute(query).first()
        return _checked(row) if row else None

    def flags_since(self, sensors: Sequence[str], since: datetime) -> dict[str, dict[Flag, int]]:
        """Return how many observations of each sensor, measured since a time, have which flag; only those with some.

        Raises:
            SensorStoreError: it could not be read.
        """
        table = OBSERVATIONS.c
        query = (
            select(table.sensor, table.flag, func.count())
            .where(table.sensor.in_(sensors), table.measured_at >= since)
            .group_by(table.sensor, table.flag)
        )
        found: dict[str, dict[Flag, int]] = {}
        with self._guarded("read"), self._engine.connect() as connection:
            for sensor, flag, count in connection.execute(query):
                found.setdefault(sensor, {})[Flag(flag)] = count
        return found

    def schema(self) -> str | None:
        """Return the version of its tables.

        Raises:
            SensorStoreError: it could not be read.
        """
        with self._guarded("read"), self._engine.connect() as connection:
            return _version(connection)

    def last_good(self, sensor: str, count: int) -> list[float]:
        """Return the values of a sensor's last good observations, the oldest first.

        Raises:
            SensorStoreError: it could not be read.
        """
        table = OBSERVATIONS.c
        query = (
            select(table.value)
            .where(table.sensor == sensor, table.flag == Flag.GOOD)
            .order_by(table.measured_at.desc())
            .limit(count)
        )
        with self._guarded("read"), self._engine.connect() as connection:
            return list(connection.scalars(query))[::-1]

    def sensors(self) -> list[str]:
        """Return the names of all sensors that have observations.

        Raises:
            SensorStoreError: it could not be read.
        """
        names: list[str] = []
        column = OBSERVATIONS.c.sensor
        with self._guarded("read"), self._engine.connect() as connection:  # one look into the index for each
            while name := connection.scalar(select(func.min(column)).where(column > (names[-1] if names else ""))):
                names.append(name)
        return names

    def subscriptions(self, session: str) -> set[str]:
        """Return the topics that a session at a broker is known to have subscribed to.

        Raises:
            SensorStoreError: it could not be read.
        """
        query = select(SUBSCRIPTIONS.c.topic).where(SUBSCRIPTIONS.c.session == session)
        with self._guarded("read"), self._engine.connect() as connection:
            return set(connection.scalars(query))

    def keep_subscriptions(self, session: str, topics: set[str]) -> None:
        """Replace the topics that a session has subscribed to.

        Raises:
            SensorStoreError: it could not be written.
        """
        with self._guarded("written"), self._engine.begin() as connection:
            connection.execute(delete(SUBSCRIPTIONS).where(SUBSCRIPTIONS.c.session == session))
            if topics:
                connection.execute(insert(SUBSCRIPTIONS), [{"session": session, "topic": one} for one in topics])

    def prune(self, older_than: datetime) -> int:
        """Delete what was measured before a time; return how many observations that were.

        Each sensor is a transaction of its own, so that new observations need not wait for all of them.

        Raises:
            SensorStoreError: it could not be written.
        """
        deleted = 0
        table = OBSERVATIONS.c
        for sensor in self.sensors():
            old = delete(OBSERVATIONS).where(table.sensor == sensor, table.measured_at < older_than)
            with self._guarded("written"), self._engine.begin() as connection:
                deleted += connection.execute(old).rowcount
        return deleted

    def backup(self, path: Path) -> None:
        """Write a consistent copy to `path` while others read and write; a file there is replaced at the end.

        Raises:
            SensorStoreError: the database is not SQLite, or the copy could not be written.
        """
        if self._engine.dialect.name != "sqlite":
            raise SensorStoreError(
                f"The store is {self._engine.dialect.name}, which this command cannot copy.",
                "Use the database's own tool, such as pg_dump -Fc.",
            )
        partial = path.with_name(f"{path.name}.partial")
        with self._guarded(f"copied to {path}"), self._engine.connect() as connection:
            source = cast(sqlite3.Connection, connection.connection.driver_connection)
            try:
                with closing(sqlite3.connect(partial)) as copy:
                    source.backup(copy)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

    def _insert(self) -> ReturningInsert[tuple[str, str]]:
        """Return the statement that keeps rows with new keys and returns their keys."""
        # The two dialects write it alike, yet SQLAlchemy has no common type for it.
        made = sqlite.insert if self._engine.dialect.name == "sqlite" else postgresql.insert
        return made(OBSERVATIONS).on_conflict_do_nothing().returning(OBSERVATIONS.c.sensor, OBSERVATIONS.c.key)

    @contextmanager
    def _guarded(self, done: str) -> Iterator[None]:
        """Turn the database's errors into ours."""
        place = self._engine.url.render_as_string(hide_password=True)
        try:
            yield
        except (DBAPIError, sqlite3.Error, OSError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise SensorStoreError(f"The store {place} cannot be {done}: {cause}.", _remedy(cause)) from error


def _remedy(cause: BaseException | None) -> str:
    name = str(getattr(cause, "sqlite_errorname", ""))
    fitting = (todo for code, todo in REMEDIES.items() if name.startswith(code))
    return next(fitting, "Check that the database runs and that this user may use it, then retry.")


def _take(keys: set[Any], key: tuple[str, str]) -> bool:
    """Return whether a key is there, and remove it: of two equal ones in one call the first is new."""
    there = key in keys
    keys.discard(key)
    return there


def _row(checked: Checked) -> dict[str, Any]:
    observation = checked.observation
    return {
        "sensor": observation.sensor,
        "key": observation.key,
        "measured_at": observation.measured_at,
        "received_at": observation.received_at,
        "timed": observation.timed,
        "value": observation.value,
        "flag": checked.flag,
        "reasons": ",".join(checked.reasons),
        "deviation": checked.deviation,
    }


def _checked(row: Row[Any]) -> Checked:
    value = math.nan if row.value is None else row.value
    observation = Observation(row.sensor, value, row.measured_at, row.received_at, row.key, row.timed)
    reasons = tuple(Reason(reason) for reason in row.reasons.split(",") if reason)
    return Checked(observation, Flag(row.flag), reasons, row.deviation)


# Opening


def _engine(url: str) -> Engine:
    url = re.sub(r"^postgres(?:ql)?://", "postgresql+psycopg://", url)  # SQLAlchemy would take psycopg's predecessor
    try:
        engine = create_engine(url, **_options(url))
    except ImportError as error:
        raise SensorStoreError(
            f"The database's driver is missing: {error}.", "pip install 'psycopg[binary]'"
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise SensorStoreError(
            f"{url.rpartition('@')[2]!r} is not a usable database URL: {error}.",
            "Use one such as sqlite:///runs/sensors.db.",
        ) from error
    if engine.dialect.name not in DIALECTS:
        raise SensorStoreError(f"{engine.dialect.name} is not supported.", "Use SQLite or PostgreSQL.")
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
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    # A migration takes the write lock at once: of two programs that open a new database the second one waits.
    migrates = connection.get_execution_options().get("migrates")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if migrates else "BEGIN")


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    head = ScriptDirectory.from_config(config).get_current_head()
    with engine.connect() as connection:
        if _version(connection) == head:
            return
    with MIGRATING, engine.connect().execution_options(migrates=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:  # alembic does not know the version that the database has
            raise SensorStoreError(
                f"A newer version made the store: it has version {_version(connection)}, this program knows {head}.",
                "Install that version, or open a copy from before the update.",
            ) from error


def _version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
