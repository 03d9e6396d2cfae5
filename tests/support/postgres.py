"""A real PostgreSQL in a folder of its own on a free loopback port; and a new database for each test."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from benchmarks.scripted_server import eventually
from core.ports import free_port

PLACES = "/usr/lib/postgresql/15/bin:/usr/lib/postgresql/16/bin:/usr/lib/postgresql/17/bin:/usr/bin:/usr/local/bin"
USER, PASSWORD = "signboard", "s3cret/@"  # what an operator may choose; the URL quotes it
QUOTED = "s3cret%2F%40"


class Postgres:
    """A server with one user, who needs a password. It may be stopped and started again.

    Args:
        folder: for its data and its log.
        port: where it listens; None: any free one.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._names = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        words = folder / "password"
        words.write_text(PASSWORD)
        if self.user:
            for path in (folder, words):
                shutil.chown(path, self.user)
        options = [f"--username={USER}", f"--pwfile={words}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        self._run("initdb", f"--pgdata={folder / 'data'}", *options)

    @property
    def user(self) -> str | None:
        """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
        return "postgres" if os.geteuid() == 0 else None

    def _command(self, program: str, *arguments: str) -> list[str]:
        found = shutil.which(program, path=PLACES)
        if not found or (self.user and self.user not in {one.pw_name for one in pwd.getpwall()}):
            pytest.fail("PostgreSQL is missing: install it with `apt-get install postgresql`")
        return [found, *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        command = self._command(program, *arguments)
        subprocess.run(command, check=True, capture_output=True, user=self.user, cwd=self._folder)

    def server_command(self) -> list[str]:
        """Return the command of the server itself, which `user` must run."""
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._command("postgres", "-D", str(self._folder / "data"), *options)

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.server_command(), stdout=log, stderr=log, user=self.user, cwd=self._folder
            )
        assert eventually(self.answers, 120), (self._folder / "log").read_text()

    def stop(self) -> None:
        """Stop it at once, as a crash does: clients lose their connections."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None

    def new_database(self) -> str:
        """Return the URL of an empty database, as an operator writes it."""
        name = f"sensors{next(self._names)}"
        with self._connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://{USER}:{QUOTED}@127.0.0.1:{self.port}/{name}"

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        )

    def answers(self) -> bool:
        """Return whether it lets its user in."""
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server for the length of a `with` block."""
    with tempfile.TemporaryDirectory(
        prefix="signboard-postgres-"
    ) as folder:  # pytest's own folders are closed to others
        server = Postgres(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()
