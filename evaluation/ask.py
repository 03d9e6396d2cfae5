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
from core.park import Scene
from core.problem import Words
from core.reading import Reading
from core.sign import DEFAULT_SIGN, Sign
from evaluation.scores import Answer

CONCURRENCY = 32
Case = tuple[int, Reading, Scene | None]  # round, reading, scene
DEADLINE = 120.0  # seconds for one message while the whole grid is asked


async def ask_raw(cases: Sequence[Case], url: str, model: str, api_key: str, **sampling: Any) -> list[Answer]:
    """Ask as a bare SDK call does: no stop strings, no limits, no sampling settings, no retry.

    Args:
        cases: what to ask, see `data.scenes.cases`; each has its own seed, so that a run can be repeated.
        url: the endpoint.
        model: the served model's name.
        api_key: the bearer token.
        sampling: settings that a bare call lacks, e.g. `temperature`; for comparisons.
    """
    async with open_sdk(url, api_key, DEADLINE, max_retries=0) as client:

        async def ask(index: int, number: int, reading: Reading, scene: Scene | None) -> Answer:
            with typed_errors(url, DEADLINE):
                async with asyncio.timeout(DEADLINE):
                    answered = await client.chat.completions.with_raw_response.create(
                        model=model, messages=prompt_messages(reading, scene), seed=index, **sampling
                    )
                said = content(answered.http_response.json(), url)
            return Answer(reading, scene, *said, tries=1, seed=number)

        return await _ask_all(cases, ask, "raw")


async def ask_client(
    cases: Sequence[Case],
    url: str,
    model: str,
    api_key: str,
    *,
    sign: Sign = DEFAULT_SIGN,
    words: Words = Words.STRICT,
) -> list[Answer]:
    """Ask through our client."""
    settings: Any = {"model": model, "api_key": api_key, "deadline": DEADLINE, "sign": sign, "words": words}
    async with AsyncSignboardClient(url, **settings) as client:

        async def ask(_index: int, number: int, reading: Reading, scene: Scene | None) -> Answer:
            try:
                message = await client.say(reading.yesterday, reading.today, scene=scene)
            except MessageError:
                return Answer(reading, scene, "", "error", 0, number)
            return Answer(reading, scene, message.text, "stop", message.tries, number)

        return await _ask_all(cases, ask, "client")


async def _ask_all(
    cases: Sequence[Case], ask: Callable[[int, int, Reading, Scene | None], Awaitable[Answer]], what: str
) -> list[Answer]:
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one(index: int, case: Case) -> Answer:
        async with slots:
            answer = await ask(index, *case)
        progress.advance(task)
        return answer

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(f"asking, {what}", total=len(cases))
        return await asyncio.gather(*(one(*numbered) for numbered in enumerate(cases)))
