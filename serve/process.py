"""A model server's process: in its own group, ready when it answers a real request, stopped without leftovers."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import httpx
import psutil

from core.errors import ServerTimeout, ServiceError
from core.prompt import build_messages
from core.reading import Reading
from serve.settings import ServeSettings

TAIL = 15  # log lines shown when a server fails
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies (a `preexec_fn`): not even SIGKILL leaves a server behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class ModelServer:
    """An OpenAI-compatible server, usually vLLM, as a context manager.

    Usage:
        with ModelServer(command, environment, "signboard", settings, log) as server:
            print(server.url)

    Args:
        command: the command that starts the server.
        environment: its whole environment.
        model: the served model's name, for the one-token request that shows that the server is ready.
        settings: its address, and the timeouts of its start and stop.
        log: its output; the previous server's output is kept as `.log.1`.
        on_wait: called while the server starts, with the seconds so far and the log's last line.
    """

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        model: str,
        settings: ServeSettings,
        log: Path,
        on_wait: Callable[[float, str], None] | None = None,
    ) -> None:
        self.url = f"http://{settings.host}:{settings.port}/v1"
        self.log = log
        self.start_seconds = 0.0
        self.command = command
        self._environment = environment
        self._model = model
        self._settings = settings
        self._on_wait = on_wait
        self._begin = 0.0  # monotonic seconds of the last launch
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ModelServer":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start vLLM and wait until it answers a one-token request.

        Raises:
            ServiceError: vLLM ended; the text has its last log lines.
            ServerTimeout: vLLM did not answer in time.
        """
        self.launch()
        while not self.ready():
            time.sleep(0.25)

    def launch(self) -> None:
        """Start vLLM and return at once."""
        self._begin = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():  # the previous server's output may explain its death
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the whole group
                preexec_fn=end_with_parent,  # noqa: PLW1509 - no threads yet, and nothing else survives our SIGKILL
            )

    def ready(self) -> bool:
        """Return whether the launched vLLM answers a one-token request.

        Raises:
            ServiceError: vLLM ended; the text has its last log lines.
            ServerTimeout: vLLM did not answer in time.
        """
        waited = time.monotonic() - self._begin
        if self.answers():
            self.start_seconds = time.monotonic() - self._begin
            return True
        if (code := self.ended()) is not None:
            raise ServiceError(f"vLLM ended with code {code}:\n{self._tail()}", f"The log is {self.log}.")
        if waited > self._settings.start_timeout:
            raise ServerTimeout(f"vLLM did not answer within {waited:.0f} s.", f"See {self.log}.")
        if self._on_wait:
            self._on_wait(waited, self._tail(1))
        return False

    def answers(self, timeout: float = 5.0) -> bool:
        """Ask for one token; vLLM's own /health stays 200 while the engine is stalled."""
        body = {"model": self._model, "messages": build_messages(Reading(10, 20)), "max_tokens": 1}
        try:
            # trust_env: a proxy for outside traffic must not handle requests to loopback
            answer = httpx.post(f"{self.url}/chat/completions", json=body, timeout=timeout, trust_env=False)
            return answer.status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def become(self) -> NoReturn:
        """Replace this process with vLLM: a container's main process must be the server itself."""
        sys.stdout.flush()
        os.execvpe(self.command[0], self.command, self._environment)  # noqa: S606 - needs no shell

    def wait(self) -> int:
        """Wait until vLLM ends; return its exit code."""
        assert self._process is not None
        return self._process.wait()

    def ended(self) -> int | None:
        """Return vLLM's exit code, or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def stop(self) -> None:
        """Stop vLLM and every process it started: SIGTERM, then SIGKILL for what is left of the group."""
        if self._process is None:
            return
        members = self.processes()
        self._signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(members, timeout=self._settings.stop_timeout)
        self._signal(signal.SIGKILL)  # the group may outlive its leader
        for process in alive:  # and a child may have left the group
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)
        self._process.wait()
        self._process = None

    def processes(self) -> list[psutil.Process]:
        """Return the server's living processes: its group and the descendants of its leader."""
        assert self._process is not None
        group = self._process.pid
        members = {process.pid: process for process in psutil.process_iter() if _group_of(process.pid) == group}
        with suppress(psutil.NoSuchProcess):
            members |= {process.pid: process for process in psutil.Process(group).children(recursive=True)}
        return list(members.values())

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _tail(self, lines: int = TAIL) -> str:
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1
