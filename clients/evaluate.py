"""Evaluate a running server over the grid: once raw, as any SDK caller would ask, once through the client."""

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clients.client import AsyncSignboardClient, content, open_sdk, typed_errors
from data.errors import MessageError
from data.message import Problem, check_message, split_sentences
from data.prompt import build_messages
from data.reading import Reading
from data.sense import elements_in

CONCURRENCY = 32
DEADLINE = 120.0  # seconds for one message while the whole grid is asked


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a reading: the text, how it ended, and the samples it took (0: none passed)."""

    reading: Reading
    text: str
    finish: str
    tries: int


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares (0…1) over all answers, and counts."""

    answers: int
    right: float  # number and direction
    labels: float  # with labels, markers or commentary
    stopped: float  # finish_reason == "stop"
    one_line: float
    fits_temperature: float
    passes: float  # every check
    distinct: float
    commonest_activity: float
    elements: int  # park elements seen
    second_tries: int  # answers that needed more than one sample
    errors: int  # readings for which no message was had


async def ask_raw(readings: Sequence[Reading], url: str, model: str, api_key: str) -> list[Answer]:
    """Ask as a bare SDK call does: no stop, no limits, no sampling settings, no second try."""
    async with open_sdk(url, api_key, DEADLINE, max_retries=0) as client:

        async def ask(reading: Reading) -> Answer:
            messages: Any = build_messages(reading)
            with typed_errors(url, DEADLINE):
                async with asyncio.timeout(DEADLINE):
                    completion = await client.chat.completions.create(model=model, messages=messages)
            return Answer(reading, *content(completion, url), tries=1)

        return await _ask_all(readings, ask, "raw")


async def ask_client(readings: Sequence[Reading], url: str, model: str, api_key: str) -> list[Answer]:
    """Ask through our client."""
    async with AsyncSignboardClient(url, model=model, api_key=api_key, deadline=DEADLINE) as client:

        async def ask(reading: Reading) -> Answer:
            try:
                message = await client.say(reading.yesterday, reading.today)
            except MessageError:
                return Answer(reading, "", "error", 0)
            return Answer(reading, message.text, "stop", message.tries)

        return await _ask_all(readings, ask, "client")


def score(answers: Sequence[Answer]) -> Scores:
    """Count what the answers are worth; errors count as wrong everywhere."""
    problems = [{found.problem for found in check_message(a.text, a.reading)} for a in answers]
    activities = Counter(split_sentences(a.text)[-1] for a in answers if a.text)
    total = len(answers)
    shape = {Problem.EMPTY, Problem.ONE_LINE, Problem.SENTENCES}

    def share(condition: Callable[[int], bool]) -> float:
        return sum(condition(i) for i in range(total)) / total

    return Scores(
        answers=total,
        right=share(lambda i: not problems[i] & {Problem.EMPTY, Problem.NUMBER, Problem.DIRECTION}),
        labels=share(lambda i: Problem.LABEL in problems[i]),
        stopped=share(lambda i: answers[i].finish == "stop"),
        one_line=share(lambda i: not problems[i] & shape),
        fits_temperature=share(lambda i: not problems[i] & {Problem.EMPTY, Problem.SENSE}),
        passes=share(lambda i: not problems[i] and answers[i].finish == "stop"),
        distinct=len({a.text for a in answers if a.text}) / total,
        commonest_activity=max(activities.values(), default=0) / total,
        elements=len(set().union(*(elements_in(a.text) for a in answers))),
        second_tries=sum(a.tries > 1 for a in answers),
        errors=sum(a.tries == 0 for a in answers),
    )


def table(columns: dict[str, Scores]) -> str:
    """Return scores side by side as a Markdown table."""
    names = list(columns)
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for key, label, style in ROWS:
        values = [format(asdict(columns[name])[key], style) for name in names]
        lines.append(f"| {label} | " + " | ".join(values) + " |")
    return "\n".join(lines)


ROWS = (
    ("answers", "answers", "d"),
    ("right", "number and direction right", ".2%"),
    ("labels", "labels or markers", ".2%"),
    ("stopped", "finish_reason stop", ".2%"),
    ("one_line", "one line, two sentences", ".2%"),
    ("fits_temperature", "fits the temperature", ".2%"),
    ("passes", "passes every check", ".2%"),
    ("distinct", "distinct messages", ".2%"),
    ("commonest_activity", "commonest activity's share", ".2%"),
    ("elements", "park elements seen", "d"),
    ("second_tries", "second tries", "d"),
    ("errors", "no message", "d"),
)


async def _ask_all(readings: Sequence[Reading], ask: Callable[[Reading], Awaitable[Answer]], what: str) -> list[Answer]:
    gate = asyncio.Semaphore(CONCURRENCY)
    done = 0

    async def one(reading: Reading) -> Answer:
        nonlocal done
        async with gate:
            answer = await ask(reading)
        done += 1
        if sys.stderr.isatty():  # no tqdm: this must run with openai and pydantic alone
            end = "\n" if done == len(readings) else ""
            print(f"\r{what}: {done} of {len(readings)} messages", end=end, file=sys.stderr, flush=True)
        return answer

    return await asyncio.gather(*map(one, readings))
