"""Signs that fail: what the operator sees, what the sign shows, how long it takes; and whether what is known is true.

Usage: python -m benchmarks.sign_faults [--messages 10000] [--seed 1]
In: nothing. Out: two tables for docs/signs.md; exit code 1 if a message was wrong or too old, or a state untrue.

The gateway's boards and sign keepers, the DABIT driver and the simulated controller run in one process, over real TCP.

1. One fault each, with the default settings and real time.
2. Thousands of messages, each command failing with a probability of a quarter. Time is 50 times faster for boards,
   keeper and controller alike; the line is not.
"""

import argparse
import asyncio
import logging
import random
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from clients import SignMessage
from core.park import Element, Park
from core.reading import Reading
from core.sign import DEFAULT_SIGN
from gateway.boards import Boards, NotShown, Ticket
from gateway.signs import Delivery, SignKeeper, State
from signs.dabit import Dabit, DabitSettings
from signs.layout import Page
from signs.line import Place
from signs.park_signs import DabitFile, ParkSign
from signs.simulator import Controller, Lie
from signs.simulator_lines import TcpSimulator

PARK = Park("공원", (Element("산책로"),), timezone="Asia/Seoul")
SPEED = 50.0
MAX_AGE = 60.0  # seconds of the fast clock
PATIENCE = 0.05  # seconds of the real one, for an answer
SHARE = 0.25 / len(Lie)  # of commands at which each lie is told
TIMER = 600.0  # seconds
BEGIN = datetime(2026, 7, 1, 1, tzinfo=UTC)  # 10 o'clock in Seoul


class Clock:
    """A wall clock and a monotonic one, both faster than real time."""

    def __init__(self, speed: float) -> None:
        self.speed, self._begin = speed, time.monotonic()

    def monotonic(self) -> float:
        """Return seconds since the start."""
        return (time.monotonic() - self._begin) * self.speed

    def now(self) -> datetime:
        """Return the wall clock; it stays within one day."""
        return BEGIN + timedelta(seconds=self.monotonic() % 36000)


class SlowLine(Dabit):
    """The driver with its allowance for the line in seconds of the fast clock: the line itself is not faster."""

    async def show(self, page: Page, left: float) -> float | None:
        """Show a page, as if less time was left for the controller to hold it."""
        allowance = (SPEED - 1) * PATIENCE if self._settings.timer else 0.0
        return await super().show(page, left - allowance)


class Scene:
    """A board, a sign with its keeper, a controller behind TCP."""

    def __init__(self, speed: float, max_age: float, patience: float, timer: float | None, seed: int) -> None:
        self.clock = Clock(speed)
        self.boards = Boards(
            DEFAULT_SIGN, max_age, 10, ai_mark=True, now=self.clock.now, monotonic=self.clock.monotonic
        )
        self.controller = Controller((160, 32), clock=self.clock.monotonic, late=1.3 * patience, seed=seed)
        self.sign = TcpSimulator([self.controller])
        self._patience, self._timer = patience, timer

    async def start(self) -> SignKeeper:
        """Listen, and return a keeper of the sign."""
        await self.sign.__aenter__()
        settings = DabitSettings(20, 2, patience=self._patience, timer=self._timer)
        told = DabitFile(driver="dabit", url=self.sign.url, page_seconds=5)
        sign = ParkSign("gate", "lake", "lake", "Asia/Seoul", told, DEFAULT_SIGN)
        kind = Dabit if self.clock.speed == 1 else SlowLine
        driver = kind(Place.at(self.sign.url).line(), settings, self.clock.monotonic)
        self.keeper = SignKeeper(sign, driver, self.boards, now=self.clock.now, monotonic=self.clock.monotonic)
        return self.keeper

    def write(self, text: str) -> None:
        """Let the board show a message."""
        show_now(
            self.boards, "lake", self.boards.ticket("lake", PARK), SignMessage(text, Reading(10, 20), None, 1, 0.1)
        )

    @property
    def shows(self) -> str:
        """What the sign shows, without the spaces that fill a line."""
        return " ".join(self.controller.text.split())


def show_now(boards: Boards, board: str, ticket: Ticket, message: SignMessage) -> NotShown | None:
    """Show a message on boards that have no database, so that nothing is waited for."""
    try:
        boards.show(board, ticket, message).send(None)
    except StopIteration as done:
        found: NotShown | None = done.value
        return found
    raise AssertionError("boards without a database wait for nothing")


# 1. One fault each


@dataclass
class Row:
    """What one fault did."""

    fault: str
    operator: str  # the state and the error while it lasted
    shown: str  # on the sign meanwhile
    seconds: float  # until the sign showed the present message and had confirmed it


MESSAGE, NEXT = "어제보다 10도 올라 포근합니다.", "어제보다 11도 올라 포근합니다."


@asynccontextmanager
async def showing_a_message() -> AsyncIterator[tuple[Scene, SignKeeper]]:
    """Run a sign and its keeper at real speed; the sign has confirmed a message."""
    scene = Scene(1, 6 * 3600, 3, None, 1)
    keeper = await scene.start()
    task = asyncio.create_task(keeper.run())
    try:
        scene.write(MESSAGE)
        await until(lambda: keeper.delivery.text == MESSAGE)
        yield scene, keeper
    finally:
        task.cancel()
        await scene.sign.stop()


async def one_fault(lie: Lie) -> Row:
    """Tell one lie at the command that brings a new message."""
    async with showing_a_message() as (scene, keeper):
        scene.controller.odds, told = {lie: 1.0}, scene.controller.told
        begin = time.monotonic()
        scene.write(NEXT)
        await until(lambda: told[lie] > 0)
        scene.controller.odds = {}
        seen = Seen()
        await until(lambda: recovered(scene, keeper, begin, seen))
        return Row(lie, seen.operator, seen.shown, time.monotonic() - begin)


async def off(seconds: float) -> Row:
    """Switch the sign off for a while, with a new message meanwhile."""
    async with showing_a_message() as (scene, keeper):
        scene.controller.reset()
        await scene.sign.stop()
        await asyncio.sleep(seconds / 2)
        scene.write(NEXT)
        await asyncio.sleep(seconds / 2)
        seen = Seen(describe(keeper.delivery), "nothing: it has no power")
        begin = time.monotonic()
        await scene.sign.__aenter__()
        await until(lambda: scene.shows == NEXT and keeper.delivery.text == NEXT)
        return Row(f"no power for {seconds:g} s", seen.operator, seen.shown, time.monotonic() - begin)


@dataclass
class Seen:
    """What was seen while a fault lasted."""

    operator: str = "nothing: it is confirmed"
    shown: str = ""


def recovered(scene: Scene, keeper: SignKeeper, begin: float, seen: Seen) -> bool:
    """Note what is seen; return whether the fault is over."""
    if keeper.delivery.state is State.FAILED:
        seen.operator = describe(keeper.delivery)
    if time.monotonic() - begin > 0.05 and not seen.shown:
        seen.shown = {MESSAGE: "the message before", NEXT: "the new message", "": "nothing"}[scene.shows]
    good = scene.shows == NEXT and keeper.delivery.text == NEXT and not keeper._driver.lost
    return good and bool(seen.shown)


def describe(delivery: Delivery) -> str:
    """Return a delivery's state and the beginning of its error, without addresses."""
    error = re.sub(r"^The sign( at \S+)? |: \[Errno.*|\.$|'s ", "", delivery.error or "")
    return f"{delivery.state}: {error}"


async def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


# 2. Thousands of messages


@dataclass
class Tally:
    """What was counted."""

    messages: int = 0
    samples: int = 0
    unchecked: int = 0  # samples at which the sign showed something that no board was given
    old: int = 0  # samples at which it showed a message after its limit
    oldest: float = 0.0  # seconds after the limit, at most
    untrue: int = 0  # samples at which the sign showed something else than it had confirmed
    dark: float = 0.0  # seconds for which a sign that went dark by itself was not noticed, at most
    states: Counter[str] = field(default_factory=Counter)
    limits: dict[str, float] = field(default_factory=dict)  # page → until when it may be shown


async def many(count: int, timer: float | None, seed: int) -> tuple[Tally, Scene]:
    """Write messages at random times, some of which become stale, while every lie is told; watch the sign."""
    scene, tally, chance = Scene(SPEED, MAX_AGE, PATIENCE, timer, seed), Tally(), random.Random(seed)
    keeper = await scene.start()
    scene.controller.odds = dict.fromkeys(Lie, SHARE)
    tasks = [asyncio.create_task(work) for work in (run_fast(keeper), keeper._watch(), watch(scene, keeper, tally))]
    for number in range(count):
        first = f"어제보다 {number % 25 + 1}도 올라 포근합니다."
        second = f"{number + 1}걸음 걸어 보세요."
        limit = scene.clock.monotonic() + MAX_AGE
        tally.limits.setdefault(first, 0.0)
        tally.limits[first], tally.limits[second] = max(limit, tally.limits[first]), limit
        scene.write(f"{first} {second}")
        tally.messages += 1
        await asyncio.sleep(1.2 * MAX_AGE / SPEED if chance.random() < 0.01 else chance.random() * 0.03)
        failed = next((task for task in tasks if task.done()), None)
        if failed:
            failed.result()
    for task in tasks:
        task.cancel()
    await scene.sign.stop()
    return tally, scene


async def run_fast(keeper: SignKeeper) -> None:
    """Do what the keeper's `run` does, with pauses of the fast clock."""
    while True:
        keeper._woken.clear()
        pause = await keeper.step()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause / SPEED):
                await keeper._woken.wait()


async def watch(scene: Scene, keeper: SignKeeper, tally: Tally) -> None:
    """Compare what the sign shows with what it may show and with what is known, again and again."""
    wrong_since: float | None = None
    while True:
        await asyncio.sleep(0.002)
        shown, now = scene.shows, scene.clock.monotonic()
        tally.samples += 1
        tally.states[keeper.delivery.state] += 1
        if shown and shown not in tally.limits:
            tally.unchecked += 1
        elif shown and now > tally.limits[shown]:
            tally.old += 1
            tally.oldest = max(tally.oldest, now - tally.limits[shown])
        confirmed = keeper._confirmed
        if confirmed is None or " ".join(" ".join(confirmed[1]).split()) == shown:
            wrong_since = None
        elif shown:
            tally.untrue += 1
        else:  # the sign went dark by itself: it lost its RAM, or its timer was faster than our next look
            wrong_since = now if wrong_since is None else wrong_since
            tally.dark = max(tally.dark, now - wrong_since)


def report(rows: list[Row], runs: list[tuple[str, Tally, Scene]]) -> None:
    """Print both tables."""
    print("| fault | the operator sees | the sign shows meanwhile | seconds to recovery |\n|---|---|---|---:|")
    for row in rows:
        print(f"| {row.fault} | {row.operator} | {row.shown} | {row.seconds:.1f} |")
    print("\n| | " + " | ".join(name for name, _, _ in runs) + " |\n|---|" + "---:|" * len(runs))
    lines: dict[str, Callable[[Tally, Scene], str]] = {
        "messages": lambda tally, _: f"{tally.messages:,}",
        "commands obeyed; lies told": lambda _, scene: (
            f"{scene.controller.commands:,}; {scene.controller.told.total():,}"
        ),
        "looks at the sign": lambda tally, _: f"{tally.samples:,}",
        "shown, but never checked": lambda tally, _: str(tally.unchecked),
        "shown after its limit (looks; longest)": lambda tally, _: f"{tally.old}; {tally.oldest:.1f} s",
        "shows something else than it confirmed": lambda tally, _: str(tally.untrue),
        "dark by itself and not noticed, at most": lambda tally, _: f"{tally.dark:.1f} s",
    }
    for name, tell in lines.items():
        print(f"| {name} | " + " | ".join(tell(tally, scene) for _, tally, scene in runs) + " |")


async def run(messages: int, seed: int) -> int:
    """Run everything; return the exit code."""
    single: list[Awaitable[Row]] = [*(one_fault(lie) for lie in Lie), off(20.0)]
    rows = list(await asyncio.gather(*single))
    runs = []
    for name, count, timer in (("timer", messages, TIMER), ("no timer", messages // 5, None)):
        tally, scene = await many(count, timer, seed)
        runs.append((name, tally, scene))
    report(rows, runs)
    with_timer = runs[0][1]
    return int(any(tally.unchecked or tally.untrue for _, tally, _ in runs) or with_timer.old > 0)


def main() -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description="Signs that fail, in tables.")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # each failure says so
    return asyncio.run(run(options.messages, options.seed))


if __name__ == "__main__":
    sys.exit(main())
