"""The faults: each component is killed, stopped and cut off, and the service is given time to recover."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.chaos.load import Load
from benchmarks.chaos.programs import wait_ready
from benchmarks.chaos.service import START_SECONDS, Service
from benchmarks.chaos.tally import Tally
from database.faults import DatabaseError

LASTS = 20.0  # seconds for which a component stands still or is cut off
PATIENCE = 60.0  # seconds after a fault's end for the next message
POLL = 0.5
COMPONENTS = (
    *("vllm-1", "vllm-2", "router", "gateway-1", "gateway-2"),
    *("postgresql", "mosquitto", "haproxy", "sensor-1", "sign-1"),
)


class Kind(StrEnum):
    """What happens to a component."""

    KILL = "kill"  # SIGKILL, and started again by its supervisor
    STOP = "stop"  # SIGSTOP, and SIGCONT after LASTS
    CUT = "cut"  # its network goes dead for LASTS


@dataclass(slots=True)
class Fault:
    """One fault, and what it cost. Seconds count from its beginning; None: it did not come in time."""

    component: str
    kind: Kind
    round: int
    leader: bool  # a gateway: it was the one that heard the broker and drove the signs
    began: float = 0.0  # by the wall clock
    healed: float = 0.0  # its cause was over: the process started, went on, or the network was back
    recovered: float = 0.0  # everything works again
    next_ask: float | None = None
    next_message: float | None = None
    next_page: float | None = None  # only where signs are concerned
    silent_asks: float = 0.0
    silent_boards: float = 0.0


class Chaos:
    """Breaks a running service under load.

    Args:
        service: which one.
        tally: gets everything that is seen.
        pause: seconds between two faults.
        tell: gets a line about each fault.
    """

    def __init__(self, service: Service, tally: Tally, pause: float, tell: Callable[[str], None]) -> None:
        self._service, self._tally, self._pause, self._tell = service, tally, pause, tell
        self.faults: list[Fault] = []

    async def run(self, components: list[str], kinds: list[Kind], rounds: int, load: Load) -> None:
        """Break everything in turn; a fault of the load itself ends it."""
        loading = asyncio.create_task(load.run())
        reading = asyncio.create_task(self._read_boards())
        breaking = asyncio.create_task(self._break_all(components, kinds, rounds))
        tasks = {loading, reading, breaking}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await load.learn_histories()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _break_all(self, components: list[str], kinds: list[Kind], rounds: int) -> None:
        await self._settled(time.time())
        for number in range(1, rounds + 1):
            for kind in kinds:
                for component in components:
                    await asyncio.sleep(self._pause)
                    await self._break(component, kind, number)

    async def _break(self, component: str, kind: Kind, number: int) -> None:
        leader = component in self._service.gateways and await asyncio.to_thread(self._service.leads, component)
        fault = Fault(component, kind, number, leader, time.time())
        self.faults.append(fault)
        await self._happen(fault)
        await self._settled(fault.healed, component)
        fault.recovered = time.time()
        self._measure(fault)
        self._tell(describe(fault))

    async def _happen(self, fault: Fault) -> None:
        program, network = self._service.programs[fault.component], self._service.network
        if fault.kind is Kind.KILL:
            await asyncio.to_thread(program.kill)
            network.refuse(fault.component)
            await asyncio.sleep(program.rest)
            program.start()
            fault.healed = time.time()
            await wait_ready([program], START_SECONDS)
            return
        begin, end = (
            (program.pause, program.resume)
            if fault.kind is Kind.STOP
            else (lambda: network.cut(fault.component), lambda: network.mend(fault.component))
        )
        begin()
        try:
            await asyncio.sleep(LASTS)
        finally:
            end()
        fault.healed = time.time()

    async def _settled(self, since: float, component: str = "") -> None:
        """Wait until callers, boards and signs have something that began after a moment; PATIENCE at most."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            news = [self._tally.next_ask(since), self._tally.next_message(since, self._boards(component))]
            if has_signs(component):
                news.append(self._tally.next_page(since, "sign-1"))
            if None not in news:
                return
            await asyncio.sleep(POLL)

    def _measure(self, fault: Fault) -> None:
        tally, boards = self._tally, self._boards(fault.component)
        fault.next_ask = tally.next_ask(fault.began)
        fault.next_message = tally.next_message(fault.began, boards)
        if has_signs(fault.component):
            fault.next_page = tally.next_page(fault.began, "sign-1")
        fault.silent_asks = tally.silence_of_asks(fault.began, fault.recovered)
        fault.silent_boards = tally.silence_of_boards(fault.began, fault.recovered, boards)

    def _boards(self, component: str) -> list[str]:
        """Return the boards that a component concerns."""
        return self._service.boards[:1] if component == "sensor-1" else self._service.boards

    async def _read_boards(self) -> None:
        """Read for ever which observations the boards' messages were made from; a database that is down has no news."""
        while True:
            with suppress(DatabaseError):
                self._tally.made |= set(await asyncio.to_thread(self._service.made))
            await asyncio.sleep(1)


def has_signs(component: str) -> bool:
    """Return whether signs depend on a component directly."""
    return component in ("sign-1", "postgresql") or component.startswith("gateway")


def describe(fault: Fault) -> str:
    """Return a line for the terminal."""
    leader = " (leader)" if fault.leader else ""
    page = f", sign {told(fault.next_page)}" if has_signs(fault.component) else ""
    return (
        f"{fault.component}{leader}, {fault.kind}, {fault.healed - fault.began:.0f} s: next message after, s: callers "
        f"{told(fault.next_ask)}, boards {told(fault.next_message)}{page}; longest silence, s: callers "
        f"{fault.silent_asks:.1f}, boards {fault.silent_boards:.1f}"
    )


def told(seconds: float | None) -> str:
    """Return seconds as text."""
    return "never" if seconds is None else f"{seconds:.1f}"
