"""Load: callers in a closed loop or Poisson arrivals, every answer judged, the server's CPU and memory watched."""

import asyncio
import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import psutil

from data.message import check_message
from data.prompt import build_messages
from data.reading import Reading, usual_grid

Post = Callable[[Reading], Awaitable[str]]  # asks for one message; raises what went wrong
PERCENTILES = (50, 90, 99)


@dataclass
class Level:
    """What one server did under one load."""

    seconds: float = 0.0  # from the first request to the last answer
    latencies: list[float] = field(default_factory=list)  # seconds, end to end, right answers and wrong ones
    wrong: Counter[str] = field(default_factory=Counter)  # problems of answers, by kind
    failed: int = 0  # no answer
    cpu_seconds: float = 0.0  # of the server's processes

    def figures(self) -> dict[str, Any]:
        """Return what is kept: a fast wrong answer is no answer."""
        wrong, asked = sum(self.wrong.values()), len(self.latencies) + self.failed
        good = len(self.latencies) - wrong
        quantiles = np.percentile(self.latencies, PERCENTILES) * 1000 if self.latencies else [float("nan")] * 3
        return {
            "asked": asked,
            "wrong": wrong,
            "failed": self.failed,
            "problems": dict(self.wrong),
            "per_second": good / self.seconds,
            **{f"p{p}_ms": round(float(q), 1) for p, q in zip(PERCENTILES, quantiles, strict=True)},
            "cpu_seconds_per_message": self.cpu_seconds / good if good else None,
        }


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open the load generator's connections."""
    limits = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(total=300)) as opened:
        yield opened


def readings(seed: int) -> Iterator[Reading]:
    """Yield usual readings in random order, without end."""
    grid = list(usual_grid())
    rng = random.Random(seed)
    while True:
        yield from rng.sample(grid, k=len(grid))


async def closed_loop(post: Post, at_once: int, seconds: float, seed: int) -> Level:
    """Keep `at_once` callers busy for `seconds`; each then gets its last answer."""
    level, wanted = Level(), readings(seed)
    begin = time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() - begin < seconds:
            await _ask(post, next(wanted), level)

    await asyncio.gather(*(caller() for _ in range(at_once)))
    level.seconds = time.perf_counter() - begin
    return level


async def poisson(post: Post, rate: float, seconds: float, seed: int) -> Level:
    """Ask at random moments, `rate` a second on average, whatever the answers do; vLLM's own benchmark times them."""
    from vllm.benchmarks.datasets import SampleRequest
    from vllm.benchmarks.serve import get_request

    level = Level()
    np.random.seed(seed)  # what vLLM's get_request draws from
    count = max(1, round(rate * seconds))
    wanted = [
        SampleRequest(prompt=reading, prompt_len=0, expected_output_len=0)
        for reading in itertools.islice(readings(seed), count)
    ]
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as running:
        async for request, _rate in get_request(wanted, rate):
            running.create_task(_ask(post, request.prompt, level))
    level.seconds = time.perf_counter() - begin
    return level


async def _ask(post: Post, reading: Reading, level: Level) -> None:
    begin = time.perf_counter()
    try:
        text = await post(reading)
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
        level.failed += 1
        return
    level.latencies.append(time.perf_counter() - begin)
    if problems := check_message(text, reading):
        level.wrong[problems[0].problem.value] += 1


async def stream(
    client: aiohttp.ClientSession, url: str, model: str, sampling: dict[str, Any], at_once: int, count: int
) -> dict[str, float]:
    """Return the median time to the first token and per further token, ms, by the request function of `vllm bench`."""
    from vllm.benchmarks.lib.endpoint_request_func import RequestFuncInput, async_request_openai_chat_completions

    wanted = iter(list(itertools.islice(readings(7), count)))
    firsts: list[float] = []
    others: list[float] = []

    async def caller() -> None:
        for reading in wanted:
            messages: Any = build_messages(reading)
            output = await async_request_openai_chat_completions(
                RequestFuncInput("", url, 0, 64, model, chat_messages=messages, extra_body=sampling), client
            )
            assert output.success, output.error
            firsts.append(output.ttft)
            if output.output_tokens > 1:
                others.append((output.latency - output.ttft) / (output.output_tokens - 1))

    await asyncio.gather(*(caller() for _ in range(at_once)))
    return {"ttft_ms": statistics.median(firsts) * 1000, "tpot_ms": statistics.median(others) * 1000}


def cpu_seconds(family: list[psutil.Process]) -> float:
    """Return the CPU time that these processes took so far."""
    return sum(sum(process.cpu_times()[:2]) for process in family)


def peak_mib(family: list[psutil.Process]) -> float:
    """Return the most memory that these processes held, MiB: the kernel's own high-water marks, added up."""
    total = 0.0
    for process in family:
        with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
            total += sum(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
    return total
