"""Ask a running server for checked messages. Needs only openai and pydantic."""

from typing import TYPE_CHECKING, Any

from core import __version__
from core.park import Scene
from core.problem import Words
from core.reading import Reading
from core.season import Season
from core.sign import Sign

if TYPE_CHECKING:
    from clients.client import AsyncSignboardClient, SignboardClient, SignMessage
    from clients.sdk import prompt_messages

LAZY = ("AsyncSignboardClient", "SignMessage", "SignboardClient", "prompt_messages")
__all__ = [
    "AsyncSignboardClient",
    "Reading",
    "Scene",
    "Season",
    "Sign",
    "SignMessage",
    "SignboardClient",
    "Words",
    "__version__",
    "prompt_messages",
]


def __getattr__(name: str) -> Any:
    """Import the client on first use: `--help` must not wait for openai."""
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clients import client, sdk

    return getattr(sdk if name == "prompt_messages" else client, name)
