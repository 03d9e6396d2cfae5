"""vLLM servers, their router and the gateway together: each is restarted when it dies, and one Ctrl-C stops all."""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from core.errors import ServiceError
from gateway.settings import GatewaySettings
from pipeline.recipe import ServeSection
from serve.process import ModelServer, end_with_parent
from serve.router import STOP_SECONDS, Router

DEATHS = 5  # this many ends within WITHIN seconds end the supervision
WITHIN = 600.0
PAUSE = 1.0  # seconds before a restart


class Part:
    """A process before vLLM: it answers while vLLM starts, survives vLLM, and is restarted when it ends.

    Args:
        name: how messages call it.
        command: the command that starts it.
        url: its address.
        log: its output; the previous process's output is kept as `.log.1`.
        grace: seconds for a clean stop before it is killed.
    """

    def __init__(self, name: str, command: list[str], url: str, log: Path, grace: float) -> None:
        self.url = url
        self.log = log
        self.name = name
        self._command = command
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths = Deaths(name, log)

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop once the running requests end; stopping twice is no error."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(self._grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """The running process's id.

        Raises:
            ServiceError: it is not running.
        """
        if self._process is None:
            raise ServiceError(f"{self.name} is not running.", f"See {self.log}.")
        return self._process.pid

    def restart_if_ended(self) -> None:
        """Restart the process if it ended.

        Raises:
            ServiceError: it keeps ending.
        """
        if self._process is not None and self._process.poll() is not None:
            self._deaths.count(self._process.returncode)
            time.sleep(PAUSE)
            self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - no threads yet
            )


class GatewayProcess(Part):
    """The gateway in its own process.

    Args:
        settings: the gateway's; its host and port are passed on.
        model_url: the address of vLLM or its router, ending in /v1.
        serve: the recipe's section: the model's name, and how new words are treated.
        log: its output.
    """

    def __init__(self, settings: GatewaySettings, model_url: str, serve: ServeSection, log: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "gateway",
            "run",
            f"--host={settings.host}",
            f"--port={settings.port}",
            f"--model-url={model_url}",
            f"--model-name={serve.model_name}",
            f"--words={serve.words}",
        ]
        grace = settings.deadline + 30  # beside requests it ends the broker's readings and blanks the signs
        super().__init__("The gateway", command, f"http://{settings.host}:{settings.port}", log, grace)


class RouterProcess(Part):
    """vLLM's router in its own process.

    Args:
        router: its settings.
        log: its output.
    """

    def __init__(self, router: Router, log: Path) -> None:
        super().__init__("The router", router.command(), router.url, log, STOP_SECONDS)


class Deaths:
    """Counts how often a process ends."""

    def __init__(self, name: str, log: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._log = log
        self._clock = clock
        self._times: deque[float] = deque(maxlen=DEATHS)

    def count(self, code: int | None) -> None:
        """Count one end.

        Raises:
            ServiceError: the process ended `DEATHS` times within `WITHIN` seconds.
        """
        self._times.append(self._clock())
        if len(self._times) == DEATHS and self._times[-1] - self._times[0] < WITHIN:
            raise ServiceError(
                f"{self._name} ended {DEATHS} times within {WITHIN:.0f} s, the last time with code {code}.",
                f"See {self._log}.",
            )


class Phase(Enum):
    """What a watched server does."""

    NEW = auto()  # it starts for the first time; if that fails, something is set up wrongly
    STARTING = auto()  # it starts again
    SERVING = auto()  # it has answered


class Watched:
    """A vLLM server that is restarted when it ends.

    Args:
        server: launched by `begin`.
        tell: gets a line for the operator when it is ready, and when it ended.
        url: the address that callers use.
    """

    def __init__(self, server: ModelServer, tell: Callable[[str], None], url: str) -> None:
        self._server = server
        self._tell = tell
        self._url = url
        self._phase = Phase.NEW
        self._deaths = Deaths("vLLM", server.log)

    @property
    def answered(self) -> bool:
        """Whether it has ever answered."""
        return self._phase is not Phase.NEW

    def look(self) -> None:
        """Notice that the server is ready, or restart it if it ended.

        Raises:
            ServiceError: its first start failed, or it keeps ending.
        """
        if self._phase is Phase.SERVING:
            if (code := self._server.ended()) is not None:
                self._restart(code)
            return
        try:
            if self._server.ready():
                self._phase = Phase.SERVING
                self._tell(f"[green]ready[/green] after {self._server.start_seconds:.0f} s: {self._url}")
        except ServiceError:
            if self._phase is Phase.NEW:
                raise
            self._restart(self._server.ended())

    def _restart(self, code: int | None) -> None:
        self._phase = Phase.STARTING
        self._tell(f"[yellow]vLLM ended with code {code} and is restarted; its log: {self._server.log}.1[/yellow]")
        self._deaths.count(code)
        self._server.stop()  # what is left of its processes
        time.sleep(PAUSE)
        self._server.launch()


def supervise(servers: Sequence[ModelServer], parts: Sequence[Part], tell: Callable[[str], None]) -> NoReturn:
    """Run all until Ctrl-C. A server that keeps ending is given up, as long as another one is left.

    Args:
        servers: the vLLM servers.
        parts: what stands before them, the nearest first; the last one faces the callers, and is stopped first.
        tell: prints a line for the operator.

    Raises:
        KeyboardInterrupt: Ctrl-C; all have stopped.
        ServiceError: a vLLM does not start, or nothing but processes that keep ending is left.
    """
    watched = [Watched(server, tell, parts[-1].url) for server in servers]
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)  # last: running requests still need it
        for part in parts:
            stack.enter_context(part)
        for server in servers:
            server.launch()
        while True:
            for part in parts:
                part.restart_if_ended()
            for one in tuple(watched):
                try:
                    one.look()
                except ServiceError as error:
                    if not one.answered or len(watched) == 1:
                        raise
                    watched.remove(one)
                    tell(f"[red]{error.what} It is given up; {len(watched)} left.[/red]")
            time.sleep(0.25)
