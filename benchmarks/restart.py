"""Seconds until everything is back: after all processes were killed, and from a backup on an empty machine.

Usage: python -m benchmarks.restart [--checkpoint runs/nano/awq] [--parks 24]
In: as `python -m benchmarks.chaos`. Out: a table for docs/scale.md and runs/chaos/restart.json, for SQLite with one
gateway and for PostgreSQL with two; exit code 1 if a board or a key is not what it was.

1. Everything is killed with SIGKILL and started again, all at once.
2. `python -m gateway backup`, `restore` into an empty database and empty folders, and a gateway that runs on them.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import httpx
import typer

from benchmarks.chaos.service import BY_HAND, SENSORS, Plan, Service, check_machine
from core.command_line import interrupt_on_sigterm
from core.errors import ServiceError
from core.ports import free_port
from database.faults import DatabaseError
from pipeline.cli import DEFAULT_RECIPE, console, run_app, show_table
from pipeline.recipe import Recipe, load_recipe

FOLDER = Path("runs/chaos")
MAX_AGE = 6 * 3600.0  # the gateway's default: every message is young enough
EVERY = 20.0  # seconds between two observations of a sensor
PATIENCE = 300.0
FIRST_PORT = 23000  # beside a run of benchmarks.chaos
LOOK = 0.1
KEY_SECONDS = 3.0  # within which every gateway knows a new key

Boards = dict[str, tuple[str, str]]  # board → its message and when it was written


@dataclass(slots=True)
class Result:
    """What one database's run measured, seconds."""

    database: str
    boards: int
    same_boards: float = 0.0  # from the start of all until every board shows what it showed, or a newer message
    first_message: float = 0.0  # until the first message of a new observation
    all_ready: float = 0.0  # until every component is ready
    backup: float = 0.0
    restore: float = 0.0
    gateway: float = 0.0  # from the start of a gateway on the restored database until it shows its boards
    boards_differ: int = 0
    key_works: bool = False


def main(
    recipe: Annotated[Path, typer.Option(help="How the checkpoint is served.")] = DEFAULT_RECIPE,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The 4-bit checkpoint's folder; by default the recipe's.")
    ] = None,
    parks: Annotated[int, typer.Option(min=2, max=60, help="Boards with a sensor.")] = 24,
) -> None:
    """Restart and restore, with both databases."""
    interrupt_on_sigterm()
    found = load_recipe(recipe)
    place = (checkpoint or found.folder / "awq").absolute()
    results = []
    for postgresql in (False, True):
        folder = (FOLDER / ("restart-postgresql" if postgresql else "restart-sqlite")).absolute()
        shutil.rmtree(folder, ignore_errors=True)
        plan = Plan(place, folder, parks, EVERY, MAX_AGE, postgresql, FIRST_PORT)
        check_machine(plan)
        results.append(asyncio.run(_run(found, plan)))
    report = json.dumps([asdict(one) for one in results], indent=1)
    (FOLDER / "restart.json").write_text(report, encoding="utf-8")
    rows = [["seconds", *(one.database for one in results)]]
    for name in asdict(results[0]):
        if name != "database":
            rows.append([name.replace("_", " "), *(_cell(getattr(one, name)) for one in results)])
    show_table("Restart and restore", rows)
    raise SystemExit(int(any(one.boards_differ or not one.key_works for one in results)))


async def _run(recipe: Recipe, plan: Plan) -> Result:
    service = Service(recipe, plan)
    result = Result("PostgreSQL" if plan.postgresql else "SQLite", plan.parks)
    try:
        await service.start(_tell)
        await until(lambda: len(shown(_any(service), service.boards)) == plan.parks, "every board shows a message")
        await _restart(service, result)
        await asyncio.to_thread(_restore, service, result)
    finally:
        await service.stop()
    return result


# Restart


async def _restart(service: Service, result: Result) -> None:
    """Kill everything, start everything, and see when boards and messages are back."""
    before = shown(_any(service), service.boards)
    service.kill()
    killed, begin = time.time(), time.monotonic()
    starting = asyncio.create_task(service.start_again(_tell))
    try:
        await until(lambda: as_before(before, shown(_any(service), service.boards)), "the boards are back")
        result.same_boards = time.monotonic() - begin
        await until(lambda: _is_new(service, killed), "there is a new message")
        result.first_message = time.monotonic() - begin
        await starting
        result.all_ready = time.monotonic() - begin
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


def as_before(before: Boards, now: Boards) -> bool:
    """Return whether every board shows what it showed, or something newer."""
    return all(
        board in now and (now[board] == then or datetime.fromisoformat(now[board][1]) > datetime.fromisoformat(then[1]))
        for board, then in before.items()
    )


def _is_new(service: Service, killed: float) -> bool:
    """Return whether a board has a message of an observation that was made after the kill."""
    try:
        return any(one.measured_at > killed for one in service.made())
    except DatabaseError:
        return False


# Restore


def _restore(service: Service, result: Result) -> None:
    """Back up, restore into an empty database, and start a gateway there.

    Raises:
        ServiceError: a command failed, or the boards were not there.
    """
    environment = dict(service.environment("gateway-1"))
    environment["SIGNBOARD_GATEWAY_DATABASE"] = service.database
    secret = _room(environment, "key", "restored", "--store").split()[-1]
    for name in (*SENSORS, "router"):  # or boards change between the backup and the comparison
        service.programs[name].kill()
    time.sleep(KEY_SECONDS)
    headers = {"authorization": f"Bearer {secret}"}
    before = shown(_any(service), service.boards, headers)
    if len(before) < service.plan.parks:
        raise ServiceError("Not every board shows a message before the backup.", f"See the logs in {FOLDER}.")
    begin = time.monotonic()
    backup = _room(environment, "backup", str(service.plan.folder / "backups"), "--env=none").strip()
    result.backup = time.monotonic() - begin
    elsewhere = environment | {
        "SIGNBOARD_GATEWAY_DATABASE": service.empty_database(),
        "SIGNBOARD_GATEWAY_PARKS": str(service.plan.folder / "restored-parks"),
        "SIGNBOARD_GATEWAY_GATEWAYS": "1",
    }
    elsewhere.pop("SIGNBOARD_GATEWAY_BROKER")  # its session belongs to the service that still runs
    begin = time.monotonic()
    _room(elsewhere, "restore", backup, "--env=none")
    result.restore = time.monotonic() - begin
    _without_signs(Path(elsewhere["SIGNBOARD_GATEWAY_PARKS"]))
    with _Gateway(elsewhere, service.plan.folder / "restored.log") as (url, started):
        asyncio.run(
            until(lambda: len(shown(url, service.boards, headers)) == len(before), "the restored boards are shown")
        )
        result.gateway = time.monotonic() - started
        after = shown(url, service.boards, headers)
        result.boards_differ = sum(after.get(board) != before[board] for board in before)
        refused = httpx.get(f"{url}/boards/{BY_HAND}", trust_env=False, timeout=5).status_code
        allowed = httpx.get(f"{url}/boards/{BY_HAND}?blank=true", headers=headers, trust_env=False, timeout=5)
        result.key_works = (refused, allowed.status_code) == (401, 200)


def _without_signs(parks: Path) -> None:
    """Take the signs out of restored parks: the service that still runs drives them."""
    for file in parks.glob("*.yaml"):
        file.write_text(file.read_text(encoding="utf-8").partition("signs:")[0] + "\n", encoding="utf-8")


class _Gateway:
    """A gateway for the length of a block."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment, self._log = environment, log

    def __enter__(self) -> tuple[str, float]:
        port, started = free_port(), time.monotonic()
        command = [sys.executable, "-m", "gateway", "run", f"--port={port}"]
        command += [f"--model-url=http://127.0.0.1:{free_port()}/v1"]  # none: it must show what it has
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        return f"http://127.0.0.1:{port}", started

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _room(environment: dict[str, str], *arguments: str) -> str:
    """Run a command of the gateway; return what it prints.

    Raises:
        ServiceError: it failed.
    """
    command = [sys.executable, "-m", "gateway", *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"python -m gateway {arguments[0]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


# Boards


def _any(service: Service) -> str:
    return next(iter(service.gateways.values()))


def _view(url: str, board: str, headers: dict[str, str] | None = None) -> dict[str, object] | None:
    try:
        answer = httpx.get(f"{url}/boards/{board}?blank=true", headers=headers, trust_env=False, timeout=5)
        found: dict[str, object] | None = answer.json()["message"] if answer.status_code == httpx.codes.OK else None
        return found
    except httpx.HTTPError:
        return None


def shown(url: str, boards: list[str], headers: dict[str, str] | None = None) -> Boards:
    """Return what the boards show; those that show nothing are missing."""
    found = {}
    for board in boards:
        if view := _view(url, board, headers):
            found[board] = (str(view["generated_text"]), str(view["written_at"]))
        elif not found:
            break  # the gateway does not answer
    return found


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds.

    Raises:
        ServiceError: it does not.
    """
    end = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(condition):
        if time.monotonic() > end:
            raise ServiceError(f"Not within {PATIENCE:.0f} s: {what}.", f"See the logs in {FOLDER}.")
        await asyncio.sleep(LOOK)


def _cell(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _tell(text: str) -> None:
    console.print(f"[dim]{text}[/dim]", highlight=False)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
