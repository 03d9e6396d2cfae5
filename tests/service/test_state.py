"""The gateway's state as an operator meets it: kill -9 and start again, a database that is away, keys, audit log."""

import signal
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.scripted_server import eventually, right_answer, scripted
from core.ports import free_port
from gateway.settings import GatewaySettings
from gateway.state import open_database
from tests.conftest import run_room
from tests.service.test_gateway import problem
from tests.service.test_gateway_process import gateway_process
from tests.service.test_sensors import locked
from tests.support.gateway_server import running_gateway
from tests.support.postgres import Postgres

PATIENCE = 60


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("server")
        return server.new_database()
    return f"sqlite:///{tmp_path / 'signboard.db'}"


def say(client: httpx.Client, today: int, board: str = "lake", **headers: str) -> Any:
    body = {"yesterday_temp": 10, "today_temp": today, "board": board}
    answer = client.post("/generate/temperature", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def today(client: httpx.Client, board: str = "lake") -> int | None:
    view = client.get(f"/boards/{board}?blank=true").json()
    return view["message"]["today_temp"] if view["message"] else None


def metric(client: httpx.Client, name: str) -> float:
    return next(float(line.split()[1]) for line in client.get("/metrics").text.splitlines() if line.startswith(name))


def test_after_kill_9_boards_and_history_are_as_before(url: str, tmp_path: Path) -> None:
    variables = {"SIGNBOARD_GATEWAY_DATABASE": url}
    before: dict[str, Any] = {}
    with scripted(right_answer) as model:
        for number in range(2):
            with (
                gateway_process(model.url, tmp_path / f"log{number}", **variables) as (process, address),
                httpx.Client(base_url=address, trust_env=False, timeout=30) as client,
            ):
                if before:
                    for board in ("lake", "hill"):
                        view = client.get(f"/boards/{board}").json()
                        assert view["message"] == before[board]["message"]
                        assert view["blank_at"] == before[board]["blank_at"]
                    assert [one["today_temp"] for one in client.get("/boards/lake/history").json()] == [21, 20]
                    assert client.post("/boards/hill/forget", json={}).status_code == 204
                    assert client.get("/boards/hill").status_code == 404
                for reading, board in ((20, "lake"), (21, "lake"), (15, "hill")):
                    if not before:
                        say(client, reading, board)
                before = {board: client.get(f"/boards/{board}?blank=true").json() for board in ("lake", "hill")}
                process.send_signal(signal.SIGKILL)
                process.wait()
    done = run_room("gateway", "audit", f"--database={url}")
    assert "board forgotten" in done.stdout


def test_keys_in_the_database_are_valid_and_refused_within_seconds(url: str) -> None:
    option = f"--database={url}"
    made = run_room("gateway", "key", "park-office", "--store", option)
    assert made.returncode == 0, made.stderr
    key = made.stdout.split()[-1]
    assert run_room("gateway", "key", "park-office", "--store", option).returncode == 1, "the name is taken"
    with scripted(right_answer) as model, running_gateway(model.url, database=url) as client:
        assert client.get("/boards/lake?blank=true").status_code == 401, "the database has a key: it is required"
        headers = {"authorization": f"Bearer {key}"}
        say(client, 20, **headers)
        listed = run_room("gateway", "keys", option)
        assert "park-office" in listed.stdout
        assert key not in listed.stdout
        assert run_room("gateway", "revoke", "park-office", option).returncode == 0
        assert eventually(lambda: client.get("/boards/lake", headers=headers).status_code == 401, 10)
        assert client.get("/boards/lake").status_code == 401, "revoking the last key opens nothing"
    assert run_room("gateway", "revoke", "park-office", option).returncode == 1
    audit = run_room("gateway", "audit", option).stdout
    for what in ("key added", "key revoked", "reading shown", "10 → 20 °C"):
        assert what in audit
    assert key not in audit
    only = run_room("gateway", "audit", "--who=park-office", option).stdout
    assert "reading shown" in only
    assert "key added" not in only


def test_while_postgresql_is_down_boards_go_on_and_are_stored_later(server: Postgres) -> None:
    url = server.new_database()
    with scripted(right_answer) as model:
        with running_gateway(model.url, database=url) as client:
            say(client, 20)
            server.stop()
            try:
                assert eventually(lambda: client.get("/health").json()["database"] == "down", 15)
                assert say(client, 21)["board"] == "lake"
                assert today(client) == 21
                assert metric(client, "signboard_database_up") == 0
                assert metric(client, "signboard_unstored") == 1
                problem(client.get("/boards/lake/history"), "store_down")
            finally:
                server.start()
            assert eventually(lambda: client.get("/health").json()["database"] == "up", PATIENCE)
            assert metric(client, "signboard_unstored") == 0
        with running_gateway(model.url, database=url) as client:
            assert today(client) == 21
            assert [one["today_temp"] for one in client.get("/boards/lake/history").json()] == [21, 20]


def test_while_sqlite_cannot_be_written_boards_go_on_and_are_stored_later(tmp_path: Path) -> None:
    path = tmp_path / "signboard.db"
    with scripted(right_answer) as model, running_gateway(model.url, database=f"sqlite:///{path}") as client:
        say(client, 20)
        with locked(path):
            assert say(client, 21)["board"] == "lake", "after two seconds"
            assert client.get("/health").json()["database"] == "down"
            assert today(client) == 21
        assert eventually(lambda: client.get("/health").json()["database"] == "up", PATIENCE)
        with sqlite3.connect(path) as connection:
            (message,) = connection.execute("SELECT message FROM boards").fetchone()
        connection.close()
        assert '"today_temp":21' in message


def test_a_gateway_without_its_database_does_not_start_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNBOARD_GATEWAY_DATABASE", f"sqlite:///{tmp_path}/none/signboard.db")
    done = run_room("gateway", "run", f"--port={free_port()}", timeout=120)
    assert (done.returncode, "Create its folder" in done.stderr) == (1, True)


def test_a_gateway_open_to_a_network_needs_a_key_in_the_settings_or_in_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'signboard.db'}"
    monkeypatch.setenv("SIGNBOARD_GATEWAY_DATABASE", url)
    done = run_room("gateway", "run", "--host=0.0.0.0", f"--port={free_port()}", timeout=120)
    assert (done.returncode, "without a key" in done.stderr) == (1, True)
    assert run_room("gateway", "key", "office", "--store").returncode == 0
    open_database(GatewaySettings(host="0.0.0.0", database=url)).close()
