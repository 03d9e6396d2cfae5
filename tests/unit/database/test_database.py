"""The database: opening it, what is said when that fails, and migrations up and down. Also run on PostgreSQL."""

import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from database.database import Database
from database.faults import DatabaseError
from database.schema import METADATA, head, migrate, version
from gateway import board_store, deliveries, key_store  # noqa: F401  # they declare tables
from sensors import store as sensor_store  # noqa: F401
from tests.conftest import ROOT

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
# One row of each table, as the newest version has it.
ROWS: dict[str, dict[str, Any]] = {
    "observations": {
        **{"sensor": "lake", "key": "a", "measured_at": NOON, "received_at": NOON, "timed": True, "value": 1.0},
        **{"flag": "good", "reasons": ""},
    },
    "subscriptions": {"session": "s", "topic": "t"},
    "boards": {
        **{"board": "main", "id": "1", "measured_at": NOON, "written_at": NOON, "blank_at": NOON, "boot": ""},
        **{"shown_at": 0.0, "stale_at": 0.0, "sign": "20x2", "timezone": "Asia/Seoul", "message": "{}"},
    },
    "board_messages": {"id": "1", "board": "main", "message": "{}"},
    "keys": {"name": "park", "scopes": "board", "digest": "0", "added_at": NOON},
    "audit": {"at": NOON, "who": "park", "what": "reading shown", "subject": "main", "detail": ""},
    "deliveries": {"sign": "gate", "sent_at": NOON},
}


def fill(database: Database) -> None:
    with database.writing() as connection:
        for name, row in ROWS.items():
            connection.execute(METADATA.tables[name].insert().values(row))


def counts(database: Database) -> dict[str, int]:
    with database.reading() as connection:
        names = set(inspect(connection).get_table_names()) - {"alembic_version"}
        return {name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in names}  # noqa: S608


# Migrations


def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    assert set(ROWS) == set(METADATA.tables)
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_a_filled_database_goes_down_and_up_step_by_step_and_keeps_what_the_older_version_knows(
    database: Database,
) -> None:
    fill(database)
    assert counts(database) == dict.fromkeys(ROWS, 1)
    left = {"0002": {"observations": 1, "subscriptions": 1}, "0001": {"observations": 1}}
    for older, expected in left.items():
        migrate(database.engine, older)
        assert counts(database) == expected
    migrate(database.engine)
    assert counts(database) == dict.fromkeys(ROWS, 0) | {"observations": 1}
    with database.reading() as connection:
        assert version(connection) == head()
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_opening_again_changes_nothing(database: Database, url: str) -> None:
    fill(database)
    with Database.open(url) as again:
        assert counts(again) == dict.fromkeys(ROWS, 1)


OPENER = """
import sys
from database.database import Database
print("ready", flush=True)
sys.stdin.readline()
Database.open(sys.argv[1]).close()
"""


def test_many_programs_may_open_a_new_database_at_once(url: str) -> None:
    command = [sys.executable, "-c", OPENER, url]
    programs = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for program in programs:
        assert program.stdout
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin
        program.stdin.write("go\n")
        program.stdin.flush()
    for program in programs:
        program.communicate()
    assert [program.returncode for program in programs] == [0] * 4


def test_a_new_database_may_be_opened_while_another_program_writes_its_first_rows(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("CREATE TABLE unrelated (x)")
    threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
    Database.open(f"sqlite:///{path}").close()
    other.close()
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_threads_may_open_different_databases_at_once(tmp_path: Path) -> None:
    opened: list[str] = []

    def opening(name: str) -> None:
        Database.open(f"sqlite:///{tmp_path / name}").close()
        opened.append(name)

    threads = [threading.Thread(target=opening, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(opened) == list("abcdefgh")


def test_a_newer_database_is_refused_and_left_alone(database: Database, url: str) -> None:
    fill(database)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    broken(url, "newer Signboard made the database: its schema has version 9999", "Install that Signboard")
    assert counts(database) == dict.fromkeys(ROWS, 1)


def test_a_migration_that_fails_leaves_nothing_behind(path: Path) -> None:
    """The second index cannot be made, so the table, which was, must be gone too."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE taken (x)")
    connection.execute("CREATE INDEX ix_observations_sensor_measured_at ON taken (x)")
    connection.commit()
    broken(f"sqlite:///{path}", "already exists", "")
    assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("taken",)]
    connection.close()


# What is said


def broken(url: str, word: str, remedy: str) -> None:
    with pytest.raises(DatabaseError, match=f"(?s){word}.*→ .*{remedy}"):
        Database.open(url)


def test_a_missing_folder(tmp_path: Path) -> None:
    broken(f"sqlite:///{tmp_path}/none/signboard.db", "none/signboard.db cannot be opened", "Create its folder")


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_text("temperature,21.4\n" * 100)
    broken(f"sqlite:///{path}", "cannot be opened", "no SQLite database")
    assert path.read_text().startswith("temperature")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as where nobody installed it
    broken("postgresql://signboard:secret@127.0.0.1/signboard", "psycopg", "pip install 'psycopg")


@pytest.mark.parametrize(
    "url", ["", "runs/signboard.db", "sqlserver9://u:secret@host/db", "mysql+nothing://u:secret@h/db"]
)
def test_an_unusable_url_is_named_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseError, match="→ Use") as caught:
        Database.open(url)
    assert "secret" not in str(caught.value)
