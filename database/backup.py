"""Copies of the database: SQLite by its online backup, PostgreSQL by the server's own tools, pg_dump and pg_restore.

In: a URL and a file. Out: a consistent copy while others write; or a new database with what the copy has.
"""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, Engine, inspect

from database.database import new_engine
from database.faults import DatabaseError, guarded

DEBIAN = Path("/usr/lib/postgresql")  # Debian's servers bring their tools there


def dump(url: str, file: Path) -> None:
    """Write a consistent copy of a database to `file` while others read and write it.

    Raises:
        DatabaseError: the database cannot be read, the file cannot be written, or pg_dump is missing.
    """
    engine = new_engine(url)
    try:
        with guarded(engine.url, f"copied to {file}"):
            if engine.dialect.name == "sqlite":
                _copy(engine, file)
            else:
                _run("pg_dump", engine.url, "--format=custom", "--no-owner", "--no-acl", f"--file={file}")
    finally:
        engine.dispose()


def load(url: str, file: Path) -> None:
    """Make a database of a copy. The database must not be there yet, or be empty: nothing is overwritten.

    Raises:
        DatabaseError: there is a database already, or it cannot be made.
    """
    engine = new_engine(url)
    try:
        with guarded(engine.url, f"made of {file}"):
            if engine.dialect.name == "sqlite":
                _place(engine, file)
            else:
                _refuse_filled(engine)
                _run("pg_restore", engine.url, "--exit-on-error", "--single-transaction", "--no-owner", str(file))
    finally:
        engine.dispose()


def _copy(engine: Engine, file: Path) -> None:
    if not engine.url.database or not Path(engine.url.database).is_file():  # connecting would make it
        raise DatabaseError(f"There is no database {engine.url.database}.", "Check SIGNBOARD_GATEWAY_DATABASE.")
    with closing(sqlite3.connect(engine.url.database)) as source, closing(sqlite3.connect(file)) as copy:
        source.backup(copy)


def _place(engine: Engine, file: Path) -> None:
    place = Path(engine.url.database or "")
    if place.exists():
        raise DatabaseError(
            f"There is a database {place} already.", "Stop the gateway and move the file, -wal and -shm away first."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f"{place.name}.partial")
    shutil.copyfile(file, partial)
    partial.replace(place)


def _refuse_filled(engine: Engine) -> None:
    with engine.connect() as connection:
        if inspect(connection).get_table_names():
            raise DatabaseError(
                f"The database {engine.url.database} has tables already.", "Restore into a new one: createdb NAME."
            )


def _run(program: str, url: URL, *options: str) -> None:
    """Run one of PostgreSQL's tools; the password goes through the environment, which other users cannot read."""
    place = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    variables = dict(os.environ)
    if url.password:
        variables["PGPASSWORD"] = str(url.password)
    found = _find(program)
    done = subprocess.run(
        [found, f"--dbname={place}", *options], env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DatabaseError(
            f"{program} failed: {done.stderr.strip()}.",
            "Its version must be at least the server's: install the postgresql-client package that fits.",
        )


def _find(program: str) -> str:
    """Return where a tool is; Debian's newest version first, which reads every older server."""
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    found = shutil.which(program, path=os.pathsep.join([*map(str, versions), os.environ.get("PATH", "")]))
    if not found:
        raise DatabaseError(f"{program} is missing.", "Install the postgresql-client package.")
    return found
