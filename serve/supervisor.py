"""vLLM and the gateway together: each is restarted when it dies, and one Ctrl-C stops both."""

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from core.errors import ServiceError
from gateway.settings import GatewaySettings
from pipeline.recipe import ServeSection
from serve.process import ModelServer, end_with_parent

DEATHS = 5  # this many ends within WITHIN seconds end the supervision
WITHIN = 600.0
PAUSE = 1.0  # seconds before a restart


class GatewayProcess:
    """The gateway in its own process, so that it answers while vLLM starts, and survives vLLM.

    Args:
        settings: the gateway's; its host and port are passed on.
        model_url: vLLM's address, ending in /v1.
        serve: the recipe's section: the model's name, and how new words are treated.
        log: its output; the previous gateway's output is kept as `.log.1`.
    """

    def __init__(self, settings: GatewaySettings, model_url: str, serve: ServeSection, log: Path) -> None:
        self.url = f"http://{settings.host}:{settings.port}"
        self.log = log
        self._command = [
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
        self._grace = settings.deadline + 30  # beside requests it ends the broker's readings and blanks the signs
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths = Deaths("The gateway", log)

    def __enter__(self) -> "GatewayProcess":
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
        """Stop once the running requests end and the signs are blank; stopping twice is no error."""
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
        """The running gateway's process id.

        Raises:
            ServiceError: the gateway is not running.
        """
        if self._process is None:
            raise ServiceError("The gateway is not running.", f"See {self.log}.")
        return self._process.pid

    def restart_if_ended(self) -> None:
        """Restart the gateway if it ended.

        Raises:
            ServiceError: the gateway keeps ending.
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


class Deaths:
    """Counts how often a process ends."""

    def __init__(self, name: str, log: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._log = log
        self._clock = clock
        self._times: deque[float] = deque(maxlen=DEATHS)

    def count(self, code: int) -> None:
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


def supervise(server: ModelServer, gateway: GatewayProcess, tell: Callable[[str], None]) -> NoReturn:
    """Run both until Ctrl-C.

    Raises:
        KeyboardInterrupt: Ctrl-C; both have stopped.
        ServiceError: vLLM does not start, or one of them keeps ending.
    """
    deaths = Deaths("vLLM", server.log)
    with gateway:
        while True:
            with server:
                try:
                    tell(f"[green]ready[/green] after {server.start_seconds:.0f} s: {gateway.url}")
                    while (code := server.ended()) is None:
                        gateway.restart_if_ended()
                        time.sleep(0.25)
                except BaseException:  # stop the gateway first: its running requests still need vLLM
                    gateway.stop()
                    raise
            tell(f"[yellow]vLLM ended with code {code} and is restarted; its log: {server.log}.1[/yellow]")
            deaths.count(code)
            time.sleep(PAUSE)
