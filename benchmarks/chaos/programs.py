"""A component as a process: started, killed, stopped and continued, always by the ids of its own processes."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from core.errors import ServiceError
from core.ports import check_port
from serve.process import end_with_parent

FIRST_PORT = 21000  # below the range from which the system takes the ports of outgoing connections
STOP_SECONDS = 8.0  # for a clean end, before it is killed


class Ports:
    """Gives ports that stay free while nothing listens there: no outgoing connection takes them.

    Args:
        first: the lowest one.
    """

    def __init__(self, first: int = FIRST_PORT) -> None:
        self._next = first

    def new(self) -> int:
        """Return the next free port."""
        while True:
            self._next += 1
            with suppress(ServiceError):
                check_port("127.0.0.1", self._next)
                return self._next


class Program:
    """One process with its children, which may be killed and started again.

    Args:
        name: the component's.
        command: starts it.
        log: its output, over all its starts.
        ready: whether it does its work; called again and again.
        rest: seconds until its supervisor starts it again after its end.
        supervisor: which one that is, for the report.
        environment: its whole environment; None: ours.
        user: who runs it; None: we.
        end: the signal that ends it.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        ready: Callable[[], bool],
        rest: float,
        supervisor: str,
        *,
        environment: dict[str, str] | None = None,
        user: str | None = None,
        end: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name, self.log, self.ready, self.rest, self.supervisor = name, log, ready, rest, supervisor
        self._command, self._environment, self._user, self._end = command, environment, user, end
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Whether its process is there, stopped or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and return at once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment or dict(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone
                user=self._user,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - not even our SIGKILL leaves it behind
                cwd=self.log.parent if self._user else None,
            )

    def kill(self) -> None:
        """Kill it and its children at once, as a lost machine does."""
        if self._process:
            family = self._family()
            self._signal(signal.SIGKILL)
            psutil.wait_procs(family, 5)  # PostgreSQL does not start again beside a child of its past
            self._process.wait(30)

    def pause(self) -> None:
        """Let all its processes stand still."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def begin_stop(self) -> None:
        """Ask it to end."""
        if self.runs and self._process:
            self._signal(signal.SIGCONT)
            self._process.send_signal(self._end)

    def finish_stop(self) -> None:
        """Wait for its end; kill what is left."""
        if self._process:
            left = self._family()
            _, left = psutil.wait_procs(left, STOP_SECONDS)
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(30)

    def _family(self) -> list[psutil.Process]:
        """Return its living processes, the parent first: stopped, it has no new children."""
        if not self.runs or self._process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def _signal(self, number: signal.Signals) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


async def supervise(programs: list[Program]) -> None:
    """Start again what ends, each after its rest, as its supervisor does; for ever."""
    ended: dict[str, float] = {}
    while True:
        for program in programs:
            if program.runs:
                ended.pop(program.name, None)
            elif time.monotonic() - ended.setdefault(program.name, time.monotonic()) >= program.rest:
                program.start()
        await asyncio.sleep(0.05)


async def wait_ready(
    programs: list[Program],
    seconds: float,
    tell: Callable[[str], None] = lambda _text: None,
    *,
    supervised: bool = False,
) -> None:
    """Wait until all are ready; what ends meanwhile is a fault, unless somebody starts it again.

    Raises:
        ServiceError: one ended, or is not ready in time.
    """
    begin = time.monotonic()
    for program in programs:
        while not await asyncio.to_thread(program.ready):
            if not program.runs and not supervised:
                raise ServiceError(f"{program.name} ended while it started.", f"See {program.log}.")
            if time.monotonic() - begin > seconds:
                raise ServiceError(f"{program.name} is not ready after {seconds:.0f} s.", f"See {program.log}.")
            await asyncio.sleep(0.2)
        tell(f"{program.name} is ready after {time.monotonic() - begin:.0f} s")
