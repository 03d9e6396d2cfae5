"""Ask a running server for checked messages. Needs only openai and pydantic."""

from typing import TYPE_CHECKING, Any

from core import __version__
from core.reading import Reading

if TYPE_CHECKING:
    from clients.client import AsyncSignboardClient, SignboardClient, SignMessage
    from clients.sdk import prompt_messages

__all__ = ["AsyncSignboardClient", "Reading", "SignMessage", "SignboardClient", "__version__", "prompt_messages"]


def __getattr__(name: str) -> Any:
    """Import the client on first use: `--help` must not wait for openai."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from clients import client, sdk

    return getattr(sdk if name == "prompt_messages" else client, name)
