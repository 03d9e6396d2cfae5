"""Shared by every command line: print a `SignboardError` as a message, not as a traceback.

Exit codes: 0 done, 1 a `SignboardError`, 2 wrong usage, 130 Ctrl-C.
"""

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from core import __version__
from core.errors import SignboardError


def print_version(wanted: bool) -> None:
    """Print the version and exit: the callback of `--version` in a typer command line."""
    if wanted:
        print(f"signboard {__version__}")
        sys.exit(0)


def interrupt_on_sigterm() -> None:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does: what was started is stopped on the way out."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def exit_code_of(command: Callable[[], Any]) -> int:
    """Run a command; return its exit code, 0 if it returns none."""
    try:
        return command() or 0
    except SignboardError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
