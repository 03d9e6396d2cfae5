"""vLLM's router before two scripted servers: what a server's fault costs callers, and what the router itself costs.

Usage: python -m benchmarks.router faults | latency
In: nothing; the servers are processes of this module, on free ports of loopback. Out: the tables of docs/scale.md.
"""

import asyncio
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import httpx
import typer

from benchmarks.scripted_server import Reply, Request, ScriptedServer, eventually, healthy, right_answer
from core.errors import SignboardError
from core.ports import free_port
from core.prompt import prompt_name
from gateway.settings import GatewaySettings
from gateway.traces import Traces
from gateway.writer import new_client
from pipeline.cli import new_app, run_app, show_table
from serve.process import end_with_parent
from serve.router import Router, health_path
from serve.settings import ServeSettings
from serve.supervisor import RouterProcess

ANSWER = 0.1  # seconds that a healthy server takes for a message
SLOW = 30.0  # seconds that a slow one takes: longer than any deadline
BEFORE, AFTER = 3.0, 15.0  # seconds of load before a fault, and after it
BACK = 15.0  # seconds within which a healed server must get requests again

app = new_app("Measure vLLM's router before two scripted servers.")


class Fault(StrEnum):
    """What happens to a server; its /health is fine with the last two."""

    KILLED = "killed"
    STOPPED = "stopped"  # SIGSTOP: connections are accepted, nothing is answered
    SLOW = "slow"  # a message takes half a minute
    ERRORS = "500"  # every message is an error


HURT = {
    Fault.KILLED: signal.SIGKILL,
    Fault.STOPPED: signal.SIGSTOP,
    Fault.SLOW: signal.SIGUSR1,
    Fault.ERRORS: signal.SIGUSR2,
}
HEALED = {Fault.STOPPED: signal.SIGCONT, Fault.SLOW: signal.SIGHUP, Fault.ERRORS: signal.SIGHUP}


class FakeServer:
    """A scripted server in its own process, on one port for its whole life.

    Args:
        seconds: it takes for an answer.
    """

    def __init__(self, seconds: float) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", "benchmarks.router", "server", str(self.port), str(seconds)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command, preexec_fn=end_with_parent)  # noqa: PLW1509 - nobody else ends it
        assert eventually(lambda: healthy(self.url), 60), "the server did not start"

    def hurt(self, fault: Fault) -> None:
        """Let the fault begin."""
        assert self._process
        self._process.send_signal(HURT[fault])

    def heal(self, fault: Fault) -> None:
        """End the fault."""
        assert self._process
        if fault is Fault.KILLED:
            self._process.wait()
            self.start()
        else:
            self._process.send_signal(HEALED[fault])

    def stop(self) -> None:
        """Stop it, whatever state it is in."""
        if self._process:
            self._process.kill()
            self._process.wait()


@app.command(hidden=True)
def server(port: int, seconds: float) -> None:
    """Run one scripted server; SIGUSR1 makes it slow, SIGUSR2 makes it answer 500, SIGHUP heals it."""
    modes = {signal.SIGUSR1: Fault.SLOW, signal.SIGUSR2: Fault.ERRORS, signal.SIGHUP: None}
    mode: Fault | None = None

    def switch(number: int, _frame: FrameType | None) -> None:
        nonlocal mode
        mode = modes[signal.Signals(number)]

    def reply(request: Request) -> Reply:
        if mode is Fault.ERRORS:
            return Reply("oops", status=500)
        return replace(right_answer(request), delay=SLOW if mode is Fault.SLOW else seconds)

    for number in modes:
        signal.signal(number, switch)
    with ScriptedServer(reply, port=port) as running:
        running.serve_forever(poll_interval=0.02)


@dataclass(frozen=True, slots=True)
class Routed:
    """A router that runs, and the servers behind it."""

    router: Router
    servers: tuple[FakeServer, ...]
    pid: int  # the router's

    def sent(self, place: int) -> float:
        """Return how many requests the router has sent to a server."""
        answer = httpx.get(f"http://127.0.0.1:{self.router.settings.router_metrics_port}/metrics", trust_env=False)
        pattern = rf'^vllm_router_processed_requests_total{{worker="{re.escape(self.servers[place].url)}"}} (\S+)$'
        found = re.search(pattern, answer.text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextmanager
def routed(answer: float = ANSWER, deadline: float = 10) -> Iterator[Routed]:
    """Run two scripted servers and a router before them."""
    servers = (FakeServer(answer), FakeServer(answer))
    settings = ServeSettings(router_port=free_port(), router_metrics_port=free_port())
    router = Router(tuple(one.url for one in servers), health_path(prompt_name()), deadline, settings)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for one in servers:
                one.start()
            with RouterProcess(router, Path(folder) / "router.log") as process:
                assert eventually(lambda: healthy(router.url.removesuffix("/v1")), 60), process.log.read_text()
                yield Routed(router, servers, process.pid)
        finally:
            for one in servers:
                one.stop()


@dataclass(slots=True)
class Load:
    """Callers in a closed loop, each asking as the gateway does, until `stop`.

    Args:
        url: what they ask, ending in /v1.
        callers: how many.
    """

    url: str
    callers: int
    seconds: list[tuple[float, float]] = field(default_factory=list)  # (when it began, how long it took), successes
    failed: list[str] = field(default_factory=list)
    _stopped: bool = False

    async def run(self) -> None:
        """Ask until `stop`."""
        client = new_client(GatewaySettings(model_url=self.url), Traces(""))
        try:
            await asyncio.gather(*(self._call(client.say) for _ in range(self.callers)))
        finally:
            await client.aclose()

    def stop(self) -> None:
        """End after the running requests."""
        self._stopped = True

    async def _call(self, say: Callable[[float, float], Awaitable[object]]) -> None:
        while not self._stopped:
            begin = time.monotonic()
            try:
                await say(10, 20)
                self.seconds.append((begin, time.monotonic() - begin))
            except SignboardError as error:
                self.failed.append(f"{time.monotonic() - begin:.1f} s: {error.what}")
                await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a fault of one of two servers cost."""

    messages: int  # during the fault
    failed: tuple[str, ...]
    until_none: float  # seconds after which the server got no more requests
    sent: float  # requests that it got meanwhile
    slowest: float  # seconds of the slowest message
    late: int  # messages that took over a second
    until_back: float  # seconds after which the healed server got requests again


async def suffer(place: Routed, fault: Fault, callers: int) -> Seen:
    """Hurt the first server under load, heal it, and return what was seen."""
    load = Load(place.router.url, callers)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(BEFORE)
    hurt, before = time.monotonic(), await asyncio.to_thread(place.sent, 0)
    place.servers[0].hurt(fault)
    last, sent = 0.0, before
    while time.monotonic() - hurt < AFTER:
        if (now := await asyncio.to_thread(place.sent, 0)) > sent:
            last, sent = time.monotonic() - hurt, now
        await asyncio.sleep(0.02)
    healed = time.monotonic()
    await asyncio.to_thread(place.servers[0].heal, fault)
    back = time.monotonic()
    # Three: one alone may be the router's trial of a server that it had given up.
    while await asyncio.to_thread(place.sent, 0) < sent + 3 and time.monotonic() - back < BACK:
        await asyncio.sleep(0.02)
    until_back = time.monotonic() - back
    load.stop()
    await running
    seconds = [took for begin, took in load.seconds if hurt - 1 < begin < healed]
    late = sum(took > 1 for took in seconds)
    return Seen(len(seconds), tuple(load.failed), last, sent - before, max(seconds), late, until_back)


@app.command()
def faults(callers: Annotated[int, typer.Option(min=1, help="Callers at once.")] = 8) -> None:
    """Hurt one of two servers in every way, and print what it cost."""
    rows = [
        ["fault", "messages", "failed", "over 1 s", "slowest, s", "sent to it", "the last after, s", "back after, s"]
    ]
    for fault in Fault:
        with routed() as place:
            seen = asyncio.run(suffer(place, fault, callers))
        for line in seen.failed:
            print(f"{fault}: {line}")
        counted = [seen.messages, len(seen.failed), seen.late]
        measured = [seen.slowest, seen.sent, seen.until_none, seen.until_back]
        rows.append([fault, *map(str, counted), *(f"{value:.1f}" for value in measured)])
    show_table(f"One of two servers fails for {AFTER:.0f} s, {callers} callers", rows)


@app.command()
def latency(messages: Annotated[int, typer.Option(min=10, help="Messages of each row.")] = 1000) -> None:
    """Ask servers that answer at once, with the router and without, in turns."""
    rows = [["callers", "asked", "p50, ms", "p95, ms"]]
    with routed(answer=0) as place:
        for callers in (1, 8):
            took: dict[str, list[float]] = {"a server": [], "the router": []}
            for _ in range(5):
                for name, url in (("a server", f"{place.servers[0].url}/v1"), ("the router", place.router.url)):
                    took[name] += asyncio.run(_timed(url, callers, messages // 5))
            for name, seconds in took.items():
                cut = statistics.quantiles(seconds, n=20)
                rows.append([str(callers), name, f"{1000 * cut[9]:.1f}", f"{1000 * cut[18]:.1f}"])
    show_table(f"The router's own time, {messages} messages a row", rows)


async def _timed(url: str, callers: int, messages: int) -> list[float]:
    load = Load(url, callers)
    running = asyncio.create_task(load.run())
    while len(load.seconds) < messages:
        assert not load.failed, load.failed
        await asyncio.sleep(0.01)
    load.stop()
    await running
    return [took for _, took in load.seconds][:messages]


if __name__ == "__main__":
    run_app(app)
