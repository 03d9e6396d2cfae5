"""The schema: what all tables belong to, its versions, and how a database is brought to the newest one (alembic)."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import BigInteger, Connection, Dialect, Engine, MetaData
from sqlalchemy.types import TypeDecorator

from database.faults import DatabaseError

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 5307_2026  # any number: of two programs that open a new PostgreSQL database the second one waits
MIGRATING = Lock()  # alembic's environment is one for the whole process
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
METADATA = MetaData()  # the tables of every room; migrations/ makes them


class UtcTime(TypeDecorator[datetime]):
    """An aware time as microseconds since 1970: exact, small, and the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002, D102
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        return None if value is None else EPOCH + value * MICROSECOND


def head() -> str:
    """Return the newest version that this program knows."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    assert found  # noqa: S101  # there is a migration
    return found


def version(connection: Connection) -> str | None:
    """Return the version of a database's schema; None: it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine, wanted: str = "head") -> None:
    """Bring a database to a version, by default to the newest: all or nothing, one program at a time.

    Raises:
        DatabaseError: a newer program made the database.
    """
    with engine.connect() as connection:
        if version(connection) == (head() if wanted == "head" else wanted):
            return
    with MIGRATING, engine.connect().execution_options(migrates=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        config = _config()
        config.attributes["connection"] = connection
        _check_known(connection)
        _check_known_here(wanted)
        if wanted == "head" or int(version(connection) or 0) < int(wanted):
            command.upgrade(config, wanted)
        else:
            command.downgrade(config, wanted)


def _check_known(connection: Connection) -> None:
    found = version(connection)
    try:
        ScriptDirectory.from_config(_config()).get_revision(found or "base")
    except CommandError as error:
        raise DatabaseError(
            f"A newer Signboard made the database: its schema has version {found}, this one knows {head()}.",
            "Install that Signboard again, or restore the backup from before its installation (docs/backup.md).",
        ) from error


def _check_known_here(wanted: str) -> None:
    try:
        ScriptDirectory.from_config(_config()).get_revision(wanted)
    except CommandError as error:
        raise DatabaseError(f"The schema has no version {wanted}.", f"Use 0001 to {head()}.") from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
