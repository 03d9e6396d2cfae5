"""Ask a running server for checked messages. Needs only openai and pydantic."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clients.client import AsyncSignboardClient, SignboardClient, SignMessage

__all__ = ["AsyncSignboardClient", "SignMessage", "SignboardClient"]


def __getattr__(name: str) -> Any:
    """Import the client when it is first asked for: `--help` must not wait for openai."""
    if name not in __all__:
        raise AttributeError(f"module 'clients' has no attribute {name!r}")
    from clients import client

    return getattr(client, name)
