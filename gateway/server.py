"""Run the gateway with uvicorn: bounded input, a graceful shutdown on SIGTERM."""

import signal
import sys

import uvicorn

from core.errors import ServiceError
from core.ports import check_port
from gateway.app import create_app
from gateway.log import log_json
from gateway.settings import CONNECTIONS, HEADER_BYTES, GatewaySettings


def run_gateway(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or Ctrl-C; running requests may finish within their deadline.

    Raises:
        ServiceError: the port is taken, or the server could not start.
    """
    check_port(settings.host, settings.port)
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
        timeout_graceful_shutdown=int(settings.deadline) + 2,
        http="h11",  # httptools accepts headers of any size
        h11_max_incomplete_event_size=HEADER_BYTES,
        ws="none",
        limit_concurrency=CONNECTIONS,
    )
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        raise ServiceError("The gateway could not start.", "The reason is in its log.")
