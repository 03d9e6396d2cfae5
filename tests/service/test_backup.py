"""Backup and restore as an operator does it: into an empty machine, with SQLite and with a real PostgreSQL."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from database.database import Database
from database.schema import METADATA, head, migrate
from tests.conftest import run_room
from tests.support.postgres import Postgres
from tests.unit.database.test_database import NOON, ROWS, counts, fill


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """The database to back up, and where it is restored."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("server")
        return server.new_database(), server.new_database()
    return f"sqlite:///{tmp_path / 'here.db'}", f"sqlite:///{tmp_path / 'new' / 'there.db'}"


def everything(url: str) -> dict[str, list[Any]]:
    with Database.open(url) as database, database.reading() as connection:
        return {name: sorted(map(tuple, connection.execute(select(METADATA.tables[name])))) for name in ROWS}


def backed_up(url: str, folder: Path, env: Path, *more: str) -> Path:
    done = run_room("gateway", "backup", str(folder), f"--database={url}", f"--env={env}", *more)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_what_was_backed_up_while_others_wrote_comes_back_on_an_empty_machine(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    here, there = urls
    env, checkpoint = tmp_path / "env", tmp_path / "awq"
    env.write_text("SIGNBOARD_GATEWAY_RATE_LIMIT=1/minute\n")
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{}")
    stop = threading.Event()
    with Database.open(here) as database:
        fill(database)

        def write() -> None:
            number = 0
            while not stop.wait(0.001):
                with database.writing() as connection:  # two rows, or none
                    for half in "ab":
                        row = {"at": NOON, "who": str(number), "what": "key added", "subject": half, "detail": ""}
                        connection.execute(METADATA.tables["audit"].insert().values(row))
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            backup = backed_up(here, tmp_path / "backups", env, f"--checkpoint={checkpoint}")
        finally:
            stop.set()
            writer.join()
        after = counts(database)
    assert (backup.stat().st_mode & 0o777) == 0o700, "it has secrets"
    restored_env = tmp_path / "new" / "env"
    done = run_room("gateway", "restore", str(backup), f"--database={there}", f"--env={restored_env}")
    assert done.returncode == 0, done.stderr
    assert "database: restored" in done.stdout
    assert "checkpoint: copy" in done.stdout
    found, original = everything(there), everything(here)
    halves = [row[4] for row in found["audit"] if row[2].isdigit()]
    assert halves.count("a") == halves.count("b"), "no half transaction"
    assert len(found["audit"]) <= after["audit"]
    assert {name: rows for name, rows in found.items() if name != "audit"} == {
        name: rows for name, rows in original.items() if name != "audit"
    }
    assert restored_env.read_text() == env.read_text()
    assert (restored_env.stat().st_mode & 0o777) == 0o600
    with Database.open(there) as database, database.writing() as connection:  # counting goes on
        connection.execute(METADATA.tables["audit"].insert().values(ROWS["audit"]))
    again = run_room("gateway", "restore", str(backup), f"--database={there}", f"--env={restored_env}")
    assert again.returncode == 1
    assert "already" in again.stderr, "nothing is overwritten"


def test_a_backup_of_an_older_schema_is_brought_up_to_date_and_a_newer_one_is_refused(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    here, there = urls
    with Database.open(here) as database:
        fill(database)
    backup = backed_up(here, tmp_path / "backups", tmp_path / "none")
    manifest = json.loads((backup / "backup.json").read_text())
    (backup / "backup.json").write_text(json.dumps(manifest | {"schema_version": "9999"}))
    newer = run_room("gateway", "restore", str(backup), f"--database={there}")
    assert (newer.returncode, "9999" in newer.stderr) == (1, True)
    (backup / "backup.json").write_text(json.dumps(manifest))
    with (backup / "database").open("ab") as file:
        file.write(b"x")
    damaged = run_room("gateway", "restore", str(backup), f"--database={there}")
    assert (damaged.returncode, "damaged: database" in damaged.stderr) == (1, True)
    assert "is no backup" in run_room("gateway", "restore", str(tmp_path), f"--database={there}").stderr


def test_the_schema_goes_down_before_an_older_signboard_is_installed(urls: tuple[str, str]) -> None:
    here, _ = urls
    with Database.open(here) as database:
        fill(database)
    done = run_room("gateway", "schema", "0002", f"--database={here}")
    assert "the database: 0002" in done.stdout, done.stderr
    shown = run_room("gateway", "schema", f"--database={here}")
    assert f"the database: {head()}" in shown.stdout, "opening brings it up again"
    assert run_room("gateway", "schema", "0042", f"--database={here}").returncode == 1


def test_only_the_newest_backups_are_kept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'here.db'}"
    Database.open(url).close()
    folder = tmp_path / "backups"
    for old in ("signboard-20250101T000000Z", "signboard-20250102T000000Z", "signboard-interrupted"):
        (folder / old).mkdir(parents=True)
    for old in ("signboard-20250101T000000Z", "signboard-20250102T000000Z"):
        (folder / old / "backup.json").write_text("{}")
    made = backed_up(url, folder, tmp_path / "none", "--keep=2")
    left = {path.name for path in folder.iterdir()}
    assert left == {"signboard-20250102T000000Z", "signboard-interrupted", made.name}, "what is no backup stays"


def test_a_wrong_password_and_a_missing_database_are_named(server: Postgres, tmp_path: Path) -> None:
    url = server.new_database()
    for wrong, word in (
        (url.replace("s3cret", "guess"), "password authentication failed"),
        ("sqlite:////none", "none"),
    ):
        done = run_room("gateway", "backup", str(tmp_path / "backups"), f"--database={wrong}")
        assert done.returncode == 1
        assert word in done.stderr
        assert "guess" not in done.stderr
    assert not list((tmp_path / "backups").iterdir()), "nothing half is left"


def test_an_upgrade_keeps_what_the_older_signboard_stored(urls: tuple[str, str]) -> None:
    here, _ = urls
    with Database.open(here) as database:
        fill(database)
        migrate(database.engine, "0002")
    with Database.open(here) as database, database.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM observations")) == 1
