"""A new database for each test that asks for one; tests/service runs some of these tests on a PostgreSQL's `url`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from database.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "signboard.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with Database.open(url) as opened:
        yield opened
