"""TCP ports of this machine: check one, find a free one, see whether somebody listens."""

import socket

from core.errors import ServiceError


def check_port(host: str, port: int) -> None:
    """Check that an address can be bound.

    Raises:
        ServiceError: the address is in use, or does not belong to this machine.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ServiceError(
                f"{host}:{port} cannot be used: {error}.", "Free the port, or choose another --port."
            ) from error


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether something accepts connections at a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
