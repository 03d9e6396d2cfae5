"""Run the gateway with uvicorn: bounded input, a graceful shutdown on SIGTERM, signs of life for systemd."""

import asyncio
import signal
import socket
import sys

import uvicorn

from core.errors import ServiceError
from core.ports import check_port
from gateway.app import create_app
from gateway.log import log_json
from gateway.notify import keep_alive, notify, watchdog_pause
from gateway.settings import CONNECTIONS, HEADER_BYTES, GatewaySettings
from gateway.state import open_database

DRAIN_MARGIN = 2  # seconds beside the deadline until requests that still run are cut off


class NotifyingServer(uvicorn.Server):
    """uvicorn's server that tells systemd when it listens and when it begins to stop."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; ready means that the socket listens."""
        await super().startup(sockets)
        if self.started:
            notify(f"READY=1\nSTATUS=Listens on {self.config.host}:{self.config.port}.")
        if pause := watchdog_pause():
            self._alive = asyncio.create_task(keep_alive(pause))  # ends with the loop, so the drain is watched, too

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain and stop."""
        notify("STOPPING=1\nSTATUS=Running requests may finish.")
        await super().shutdown(sockets)


def run_gateway(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or Ctrl-C; running requests may finish within their deadline.

    Raises:
        ServiceError: the port is taken, or the server could not start.
        DatabaseError: the database cannot be opened.
        SettingError: the gateway would be open to a network without keys.
    """
    check_port(settings.host, settings.port)
    open_database(settings).close()  # what is wrong with it is told here, not in the server's log
    log_json()
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises it again after its graceful shutdown
        signal.signal(number, lambda _number, _frame: sys.exit(0))
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=int(settings.deadline) + DRAIN_MARGIN,
        http="h11",  # httptools accepts headers of any size
        h11_max_incomplete_event_size=HEADER_BYTES,
        ws="none",
        limit_concurrency=CONNECTIONS,
    )
    server = NotifyingServer(config)
    server.run()
    if not server.started:
        raise ServiceError("The gateway could not start.", "The reason is in its log.")
