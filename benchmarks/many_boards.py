"""What many boards cost each part of the service, and which part is the next bottleneck.

Usage:
    python -m benchmarks.many_boards measure [--boards 1000 --boards 10000] [--no-postgresql] [--no-router]
    python -m benchmarks.many_boards calculate

`measure` runs gateways before a scripted model that answers at once, on SQLite and on a PostgreSQL of its own, and
vllm-router before two such models, all on free ports of loopback; it writes runs/many_boards.json and prints it.
`calculate` takes these figures and prints what 10,000 to 1,000,000 boards need, and what happens when all of them send
at once: that is calculated and simulated, not measured.
"""

import asyncio
import heapq
import json
import os
import random
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer
from sqlalchemy import insert, text

from benchmarks.board_cost import running_gateway
from benchmarks.router import Load, routed
from benchmarks.scripted_server import GOOD, right_answer, scripted
from core.errors import StageError
from core.sign import DEFAULT_SIGN
from database.database import Database
from gateway.board_store import MESSAGES, BoardStore, history_row
from gateway.placed import Placed, Shown
from gateway.settings import HISTORY
from pipeline.cli import console, new_app, run_app, show_table
from pipeline.files import write_text
from tests.support.postgres import postgres

REPORT = Path("runs/many_boards.json")
CALLERS, SECONDS = 32, 10.0
BATCHES = (1, 32)  # messages in one transaction: a lone one, and what collects while the one before is written
CHUNK = 500  # boards that are filled in one transaction
WRITES = 960  # in one measurement of the database
PACE = 600.0  # seconds between a board's messages
SAFE = 0.7  # share of a part's limit to plan with
MODEL = 77.0  # messages a second of one vLLM: nano on two cores, at the knee (docs/capacity.md)
WITHIN, DEADLINE = (60.0, 300.0), 10.0  # seconds over which all boards send; after which a caller is refused
COUNTS = (1_000, 10_000, 100_000, 1_000_000)

app = new_app("Measure and calculate what many boards cost.")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the service: how many messages a second one of it does, and whether more of it can be added."""

    name: str
    per_second: float
    grows: bool


# Measured


@app.command()
def measure(
    boards: Annotated[list[int] | None, typer.Option(help="How many boards the database has; several times.")] = None,
    postgresql: Annotated[bool, typer.Option(help="PostgreSQL, too.")] = True,
    router: Annotated[bool, typer.Option(help="vllm-router, too.")] = True,
) -> None:
    """Measure the database, the gateway and the router."""
    found: dict[str, Any] = {"stores": [], "cores": os.cpu_count()}
    counts = boards or [1_000, 10_000]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        urls = {"SQLite": lambda number: f"sqlite:///{folder}/{number}.db"}
        if postgresql:
            server = stack.enter_context(postgres())
            urls["PostgreSQL"] = lambda _: server.new_database()
        for name, url in urls.items():
            for count in counts:
                console.print(f"{name}, {count:,} boards")
                found["stores"].append({"store": name, "boards": count} | _store(url(count), count, Path(folder)))
    show_table("Measured", store_rows(found["stores"]))
    if router:
        found["router"] = _router()
    write_text(REPORT, json.dumps(found, indent=2) + "\n")
    if router:
        console.print(f"vllm-router: {found['router']['cpu_ms']:.1f} ms of CPU time a message")


def _store(url: str, count: int, folder: Path) -> dict[str, float]:
    with Database.open(url) as database:
        found = _fill(database, count)
    with ExitStack() as stack:
        model, begin = stack.enter_context(scripted(right_answer)), time.perf_counter()
        first, address = stack.enter_context(running_gateway(model.url, url, folder, count))
        found |= {"start_s": time.perf_counter() - begin, "mib": first.memory_info().rss / 2**20}
        gateways = [first]
        if url.startswith("postgres"):
            gateways.append(stack.enter_context(running_gateway(model.url, url, folder, count))[0])
        before = _cpu(first)
        time.sleep(SECONDS)
        found["idle_share"] = (_cpu(first) - before) / SECONDS
        begun = [_cpu(one) for one in gateways]
        done = asyncio.run(_load(address, count))
        spent = [1000 * (_cpu(one) - start) / done for one, start in zip(gateways, begun, strict=True)]
        found |= {"per_second": done / SECONDS, "cpu_ms": spent[0], "other_cpu_ms": spent[1] if spent[1:] else 0.0}
    return found


def _fill(database: Database, count: int) -> dict[str, float]:
    """Give every board a full history; measure how fast messages are written then."""
    store, now = BoardStore(database), datetime.now(UTC) - timedelta(hours=1)
    for start in range(0, count, CHUNK):
        chunk = range(start, min(count, start + CHUNK))
        store.write([_placed(board, 0, now) for board in chunk])
        rows = [history_row(_placed(board, number, now)) for number in range(1, HISTORY) for board in chunk]
        with database.writing() as connection:
            connection.execute(insert(MESSAGES), rows)
    found = {"kib": _size(database) / count / 1024}
    for batch in BATCHES:
        begin = time.perf_counter()
        for start in range(0, WRITES, batch):
            store.write([_placed((start + n) % count, HISTORY + batch + start, now) for n in range(batch)])
        found[f"writes_{batch}"] = WRITES / (time.perf_counter() - begin)
    return found


def _placed(board: int, number: int, now: datetime) -> Placed:
    written = now + timedelta(milliseconds=number)
    shown = Shown(
        generated_text=GOOD,
        yesterday_temp=10,
        today_temp=20,
        season=None,
        elements=["산책로"],
        written_at=written,
        tries=1,
        generation_time=0.1,
    )
    name, until = f"board-{board:07d}", now + timedelta(hours=6)
    return Placed(f"{board}-{number}", name, shown, written, until, DEFAULT_SIGN, "Asia/Seoul", "", 0.0, 0.0)


def _size(database: Database) -> float:
    query = (
        "SELECT pg_database_size(current_database())"
        if database.is_postgresql
        else "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    )
    with database.reading() as connection:
        return float(connection.execute(text(query)).scalar_one())


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _load(address: str, count: int) -> int:
    """Ask for messages on random boards for some seconds; return how many there were."""
    rng, done, end = random.Random(1), 0, time.monotonic() + SECONDS
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=CALLERS)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits, trust_env=False) as client:

        async def work() -> None:
            nonlocal done
            while time.monotonic() < end:
                board = f"board-{rng.randrange(count):07d}"
                body = {"yesterday_temp": 10, "today_temp": rng.randint(5, 30), "board": board}
                answer = await client.post("/generate/temperature", json=body)
                assert answer.status_code == httpx.codes.OK, answer.text
                done += 1

        await asyncio.gather(*(work() for _ in range(CALLERS)))
    return done


def _router() -> dict[str, float]:
    with routed(answer=0.0) as ours:
        process = psutil.Process(ours.pid)
        before = _cpu(process)
        done = asyncio.run(_ask_router(ours.router.url))
        return {"cpu_ms": 1000 * (_cpu(process) - before) / done, "per_second": done / SECONDS}


async def _ask_router(url: str) -> int:
    load = Load(url, 8)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(SECONDS)
    load.stop()
    await running
    assert not load.failed, load.failed[0]
    return len(load.seconds)


def store_rows(stores: list[dict[str, Any]]) -> list[list[str]]:
    """Return the measurements as a table, header first."""
    rows = [
        [
            *("database", "boards", "messages/s written alone", "32 at once", "KiB a board"),
            *("gateway's start, s", "its memory, MiB", "CPU of an idle one", "messages/s, 32 callers"),
            *("CPU a message, ms", "of the other gateway"),
        ]
    ]
    for one in stores:
        rows.append(
            [
                *(one["store"], f"{one['boards']:,}", f"{one['writes_1']:,.0f}", f"{one['writes_32']:,.0f}"),
                *(f"{one['kib']:.0f}", f"{one['start_s']:.1f}", f"{one['mib']:,.0f}", f"{one['idle_share']:.1%}"),
                *(f"{one['per_second']:.0f}", f"{one['cpu_ms']:.1f}", f"{one['other_cpu_ms']:.1f}"),
            ]
        )
    return rows


# Calculated


@app.command()
def calculate() -> None:
    """Print what many boards need, from the last measurement."""
    found = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {"stores": []}
    if "router" not in found or not any(one["store"] == "PostgreSQL" for one in found["stores"]):
        raise StageError(f"{REPORT} has no measurement of PostgreSQL and the router.", "Run `measure` with both first.")
    parts = parts_of(found)
    show_table(f"Calculated: a message for each board every {PACE / 60:.0f} minutes", needed_rows(parts))
    show_table("Simulated: all boards send within a minute, or within five", burst_rows(parts))


def parts_of(found: dict[str, Any]) -> list[Part]:
    """Return the parts with what one of each does on one core."""
    store = max((one for one in found["stores"] if one["store"] == "PostgreSQL"), key=lambda one: one["boards"])
    return [
        Part("vLLM, nano on two cores", MODEL, grows=True),
        Part("gateway, its own messages", 1000 / store["cpu_ms"], grows=True),
        Part("gateway, messages of the others", 1000 / store["other_cpu_ms"], grows=False),
        Part("vllm-router", 1000 / found["router"]["cpu_ms"], grows=True),
        Part("PostgreSQL, one writer", store["writes_32"], grows=False),
    ]


def needed_rows(parts: list[Part]) -> list[list[str]]:
    """Return how many of each part a number of boards needs; a part that cannot grow is marked where it is too slow."""
    rows = [["boards", "messages/s", *(part.name for part in parts)]]
    for count in COUNTS:
        rate = count / PACE
        needs = [rate / part.per_second / SAFE for part in parts]
        cells = [
            f"{need:.0%} of one" if need <= 1 else f"{need:.1f}" if part.grows else f"too slow by {need:.1f}"
            for part, need in zip(parts, needs, strict=True)
        ]
        rows.append([f"{count:,}", f"{rate:,.1f}", *cells])
    return rows


def burst_rows(parts: list[Part]) -> list[list[str]]:
    """Return what callers see when all boards send within some seconds, with as many parts as the even pace needs."""
    rows = [["boards", "within, s", "vLLM servers", "answered within 10 s", "p99, s"]]
    for count in COUNTS[:-1]:
        for within in WITHIN:
            servers = max(1, round(count / PACE / parts[0].per_second / SAFE + 0.5))
            waits = burst(count, within, [(part.per_second, servers if part.grows else 1) for part in parts])
            good = sum(wait <= DEADLINE for wait in waits) / count
            late = sorted(waits)[int(0.99 * count)]
            rows.append([f"{count:,}", f"{within:.0f}", str(servers), f"{good:.1%}", f"{late:,.1f}"])
    return rows


def burst(count: int, within: float, stages: list[tuple[float, int]], seed: int = 1) -> list[float]:
    """Simulate `count` requests at random moments of `within` seconds through stages in a row; return their seconds.

    Args:
        count: requests.
        within: seconds.
        stages: of each, requests a second of one server, and servers; first come, first served, no request gives up.
        seed: of the arrivals and the service times, which are exponential.
    """
    rng = random.Random(seed)
    begun = sorted(rng.uniform(0, within) for _ in range(count))
    there = [(moment, index) for index, moment in enumerate(begun)]
    for per_second, servers in stages:
        free = [0.0] * servers
        left = []
        for moment, index in sorted(there):
            end = max(moment, heapq.heappop(free)) + rng.expovariate(per_second)
            heapq.heappush(free, end)
            left.append((end, index))
        there = left
    return [end - begun[index] for end, index in there]


if __name__ == "__main__":
    run_app(app)
