"""Load: callers in a closed loop or at random moments; judge every answer, measure the server's CPU and memory."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from benchmarks.scene import SCENE
from core.checks import check_message
from core.prompt import build_messages
from core.reading import Reading, usual_grid

Post = Callable[[Reading], Awaitable[str]]  # asks for one message; raises an error if there is none
POLL = 0.01  # seconds
PAUSE = 0.1  # seconds after a request that failed, or a dead server would be asked thousands of times


@dataclass
class Level:
    """One server's results under one load."""

    seconds: float = 0.0  # in which its answers were counted
    latencies_ms: list[float] = field(default_factory=list)  # end to end, right answers and wrong ones
    wrong: Counter[str] = field(default_factory=Counter)  # problems of answers, by kind
    failed: int = 0  # no answer
    cpu_seconds: float = 0.0  # of the server's processes
    generator_seconds: float = 0.0  # of the load generator, which shares the machine

    def figures(self) -> dict[str, Any]:
        """Return the figures to keep. A wrong answer does not count, however fast."""
        answers, wrong = len(self.latencies_ms), sum(self.wrong.values())
        return {
            "asked": answers + self.failed,
            "wrong": wrong,
            "failed": self.failed,
            "problems": dict(self.wrong),
            "per_second": (answers - wrong) / self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "generator_seconds": self.generator_seconds,
            "latencies_ms": [round(latency, 1) for latency in self.latencies_ms],
        }

    def note(self, reading: Reading, text: str | None, seconds: float) -> None:
        """Judge one answer; None means that none came."""
        if text is None:
            self.failed += 1
            return
        self.latencies_ms.append(1000 * seconds)
        if found := check_message(text, reading, SCENE):
            self.wrong[found[0].problem.value] += 1


async def _ask(post: Post, reading: Reading) -> str | None:
    """Ask; retry if the server closed an idle connection, like our client."""
    for _ in range(2):
        with suppress(aiohttp.ClientConnectionError):
            return await _once(post, reading)
    await asyncio.sleep(PAUSE)
    return None


async def _once(post: Post, reading: Reading) -> str | None:
    try:
        return await post(reading)
    except (aiohttp.ClientResponseError, TimeoutError, LookupError, TypeError, ValueError):
        await asyncio.sleep(PAUSE)
        return None


@asynccontextmanager
async def session(*, keep: bool = True) -> AsyncIterator[aiohttp.ClientSession]:
    """Open the load generator's connections; with `keep`, each is reused until the server closes it."""
    limits = (
        aiohttp.TCPConnector(limit=0, keepalive_timeout=60) if keep else aiohttp.TCPConnector(limit=0, force_close=True)
    )
    async with aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(total=300)) as opened:
        yield opened


def readings(seed: int) -> Iterator[Reading]:
    """Yield usual readings in random order, without end."""
    grid = list(usual_grid())
    rng = random.Random(seed)
    while True:
        yield from rng.sample(grid, k=len(grid))


async def closed_loop(
    post: Post, at_once: int, seconds: float, seed: int, meter: Callable[[], float] = lambda: 0.0
) -> Level:
    """Keep `at_once` callers busy for `seconds`, and until there are as many answers as callers.

    A caller's first answer does not count, since all callers start at the same moment; nor do answers still in
    progress at the end. `meter` returns the CPU time that the server has used so far.
    """
    level, wanted, stop, warm = Level(), readings(seed), False, 0

    async def caller() -> None:
        nonlocal warm
        while not stop:
            reading, begin = next(wanted), time.perf_counter()
            text = await _ask(post, reading)
            level.note(reading, text, time.perf_counter() - begin)
            warm += 1

    callers = [asyncio.create_task(caller()) for _ in range(at_once)]
    while warm < at_once:
        await asyncio.sleep(POLL)
    level = measured = Level()
    begin, own, its = time.perf_counter(), time.process_time(), meter()
    while time.perf_counter() - begin < seconds or len(level.latencies_ms) + level.failed < at_once:
        await asyncio.sleep(POLL)
    measured.seconds, measured.generator_seconds = time.perf_counter() - begin, time.process_time() - own
    level, stop, measured.cpu_seconds = Level(), True, meter() - its
    await asyncio.gather(*callers)
    return measured


async def arrivals(post: Post, rate: float, seconds: float, seed: int) -> Level:
    """Ask at random moments (Poisson), `rate` a second on average, regardless of the answers.

    Latency counts from the moment at which a request was due, so a late load generator would show.
    """
    level, wanted, rng = Level(), readings(seed), random.Random(seed)
    begin, due, cpu = time.perf_counter(), 0.0, time.process_time()

    async def ask(due: float) -> None:
        reading = next(wanted)
        await asyncio.sleep(begin + due - time.perf_counter())
        level.note(reading, await _ask(post, reading), time.perf_counter() - begin - due)

    async with asyncio.TaskGroup() as running:
        while (due := due + rng.expovariate(rate)) < seconds:
            running.create_task(ask(due))
    level.seconds, level.generator_seconds = time.perf_counter() - begin, time.process_time() - cpu
    return level


async def stream(url: str, body: dict[str, Any], at_once: int, count: int, seed: int) -> dict[str, Any]:
    """Return times to the first token and per further token, ms, by the request function of `vllm bench`.

    That function does not retry when a server has closed an idle connection, so each request gets a new connection.
    """
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncInput, async_request_openai_chat_completions

    queue, level = islice(readings(seed), count), Level()
    firsts: list[float] = []
    others: list[float] = []

    async def caller() -> None:
        for reading in queue:
            messages: Any = build_messages(reading, SCENE)
            request = RequestFuncInput(
                "", url, 0, body["max_tokens"], body["model"], chat_messages=messages, extra_body=body
            )
            output = await async_request_openai_chat_completions(request, client)
            level.note(reading, output.generated_text.strip() if output.success else None, output.latency)
            if output.success:
                firsts.append(round(1000 * output.ttft, 2))
                others.append(round(1000 * (output.latency - output.ttft) / max(1, output.output_tokens - 1), 2))

    async with session(keep=False) as client:
        await asyncio.gather(*(caller() for _ in range(at_once)))
    counts = {"asked": count, "wrong": sum(level.wrong.values()), "failed": level.failed}
    return {"ttft_ms": firsts, "tpot_ms": others, **counts}


def cpu_seconds(family: list[psutil.Process]) -> float:
    """Return the CPU time that these processes have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in family)


def peak_mib(family: list[psutil.Process]) -> float:
    """Return the peak memory of these processes, MiB: the sum of the kernel's high-water marks."""
    status = "".join(Path(f"/proc/{process.pid}/status").read_text(errors="replace") for process in family)
    return sum(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
