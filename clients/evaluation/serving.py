"""Serve a rung of the line for as long as it is asked, through the serve room's own door.

A command, not an import: rooms meet at their doors, and clients come before serve.
"""

import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from data.errors import ServiceError
from data.process import end_with_parent
from data.recipe import Recipe

STOP_SECONDS = 60  # serve's own stop and a margin


@contextmanager
def served(recipe: Recipe, options: list[str], rung: str) -> Iterator[str]:
    """Serve a rung on a free port; give its URL.

    Args:
        recipe: the run.
        options: `--recipe` and `--set` with which it was read.
        rung: one of `python -m serve --help`.

    Raises:
        ServiceError: the server did not start; its own words are shown.
    """
    command = [
        sys.executable,
        "-m",
        "serve",
        *options,
        "--rung",
        rung,
        "--port",
        str(_free_port()),
        "--allow-failed-gate",
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=end_with_parent,  # noqa: PLW1509 - no threads yet
    ) as process:
        try:
            yield _wait(process, f"{recipe.name}: {rung}")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[str], what: str) -> str:
    """Return the URL of the line that says `ready`; go on reading, or a full pipe would stop the server."""
    output: IO[str] = process.stdout  # type: ignore[assignment]  # a pipe
    said: deque[str] = deque(maxlen=20)
    print(f"{what}: vLLM starts", file=sys.stderr)
    for line in output:
        said.append(line)
        if line.startswith("ready after "):
            threading.Thread(target=output.read, daemon=True).start()
            return line.split(": ", 1)[1].strip()
    raise ServiceError(f"{what} could not be served:\n{''.join(said).strip()}", "Run that command alone to see more.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
