"""Ask a running server for many readings: raw, as any SDK caller would, or through our client."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress

from clients.client import AsyncSignboardClient
from clients.sdk import content, open_sdk, prompt_messages, typed_errors
from core.errors import MessageError
from core.reading import Reading
from core.sign import DEFAULT_SIGN, Sign
from evaluation.scores import Answer

CONCURRENCY = 32
SEEDS_APART = 1_000_003  # between the seeds of two rounds; more than there are readings
DEADLINE = 120.0  # seconds for one message while the whole grid is asked


async def ask_raw(
    readings: Sequence[Reading], url: str, model: str, api_key: str, *, rounds: int = 1, **sampling: Any
) -> list[Answer]:
    """Ask as a bare SDK call does: no stop strings, no limits, no sampling settings, no retry.

    Args:
        readings: the readings to ask for, each once per round.
        url: the endpoint.
        model: the served model's name.
        api_key: the bearer token.
        rounds: passes over the readings; every request has its own seed, so that a run can be repeated.
        sampling: settings that a bare call lacks, e.g. `temperature`; for comparisons.
    """
    async with open_sdk(url, api_key, DEADLINE, max_retries=0) as client:

        async def ask(index: int, reading: Reading, seed: int) -> Answer:
            with typed_errors(url, DEADLINE):
                async with asyncio.timeout(DEADLINE):
                    completion = await client.chat.completions.create(
                        model=model, messages=prompt_messages(reading), seed=seed * SEEDS_APART + index, **sampling
                    )
            return Answer(reading, *content(completion, url), tries=1, seed=seed)

        return await _ask_all(readings, rounds, ask, "raw")


async def ask_client(
    readings: Sequence[Reading], url: str, model: str, api_key: str, *, rounds: int = 1, sign: Sign = DEFAULT_SIGN
) -> list[Answer]:
    """Ask through our client, all readings once in each round."""
    async with AsyncSignboardClient(url, model=model, api_key=api_key, deadline=DEADLINE, sign=sign) as client:

        async def ask(_index: int, reading: Reading, seed: int) -> Answer:
            try:
                message = await client.say(reading.yesterday, reading.today)
            except MessageError:
                return Answer(reading, "", "error", 0, seed)
            return Answer(reading, message.text, "stop", message.tries, seed)

        return await _ask_all(readings, rounds, ask, "client")


async def _ask_all(
    readings: Sequence[Reading], rounds: int, ask: Callable[[int, Reading, int], Awaitable[Answer]], what: str
) -> list[Answer]:
    slots = asyncio.Semaphore(CONCURRENCY)
    jobs = [(index, reading, seed) for seed in range(rounds) for index, reading in enumerate(readings)]

    async def one(index: int, reading: Reading, seed: int) -> Answer:
        async with slots:
            answer = await ask(index, reading, seed)
        progress.advance(task)
        return answer

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"asking, {what}", total=len(jobs))
        return await asyncio.gather(*(one(*job) for job in jobs))
