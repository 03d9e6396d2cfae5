"""What a board costs beside its message: requests that no board shows and requests that boards show, in turn.

Usage: python -m benchmarks.board_cost [--database postgresql://…] [--rounds 5]
In: a scripted model, so that only the gateway and its database are measured. Out: a table: milliseconds of one request
at a time, requests a second of 32 callers at once. Everything listens on free ports of loopback.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.scripted_server import eventually, healthy, right_answer, scripted
from core.ports import free_port

AT_ONCE = 32
REQUESTS = 200  # in a round, of each kind
BOARDS = 50


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The cost of keeping boards in the database.")
    parser.add_argument("--database", help="its URL; by default a SQLite file on this disk")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, scripted(right_answer) as model:
        url = options.database or f"sqlite:///{folder}/signboard.db"
        with running_gateway(model.url, url, Path(folder), BOARDS) as (_, address):
            found = asyncio.run(_measure(address, options.rounds))
    for what, (without, with_board) in found.items():
        print(
            f"{what:<28} no board {without:8.2f}   a board {with_board:8.2f}   difference {with_board - without:+.2f}"
        )


@contextmanager
def running_gateway(model_url: str, database: str, folder: Path, boards: int) -> Iterator[tuple[psutil.Process, str]]:
    """Run a gateway in a process of its own; yield it and its address once it answers. Its log goes to the folder."""
    port = free_port()
    log_file, address = folder / f"gateway-{port}.log", f"http://127.0.0.1:{port}"
    told = {"DATABASE": database, "RATE_LIMIT": "10000000/minute", "BOARDS": str(boards)}
    environment = os.environ | {f"SIGNBOARD_GATEWAY_{name}": value for name, value in told.items()}
    command = [sys.executable, "-m", "gateway", "run", f"--port={port}", f"--model-url={model_url}"]
    with (
        log_file.open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            assert eventually(lambda: healthy(address), 600), log_file.read_text()
            yield psutil.Process(process.pid), address
        finally:
            process.terminate()


async def _measure(address: str, rounds: int) -> dict[str, tuple[float, float]]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=AT_ONCE)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits, trust_env=False) as client:

        async def ask(number: int, *, shows: bool) -> float:
            board = f"board-{number % BOARDS}" if shows else None
            body: dict[str, Any] = {"yesterday_temp": 10, "today_temp": 10 + number % 20, "board": board}
            begin = time.perf_counter()
            answer = await client.post("/generate/temperature", json=body)
            assert answer.status_code == httpx.codes.OK, answer.text
            return time.perf_counter() - begin

        async def rate(*, shows: bool) -> float:
            numbers = iter(range(REQUESTS))

            async def work() -> None:
                for number in numbers:
                    await ask(number, shows=shows)

            begin = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
            return REQUESTS / (time.perf_counter() - begin)

        for shows in (False, True):
            await rate(shows=shows)  # warm
        alone: dict[bool, list[float]] = {False: [], True: []}
        many: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(rounds):
            for number in range(REQUESTS):
                for shows in (False, True):
                    alone[shows].append(1000 * await ask(number, shows=shows))
            for shows in (False, True):
                many[shows].append(await rate(shows=shows))
    return {
        "p50 of one at a time, ms": (statistics.median(alone[False]), statistics.median(alone[True])),
        f"requests/s, {AT_ONCE} at once": (statistics.median(many[False]), statistics.median(many[True])),
    }


if __name__ == "__main__":
    main()
