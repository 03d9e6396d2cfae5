"""Run the gateway with uvicorn: JSON logs, a graceful end on SIGTERM."""

import logging
import signal
import sys

import uvicorn
from pythonjsonlogger.json import JsonFormatter

from data.errors import ServiceError
from serve.gateway.app import create_app
from serve.gateway.settings import GatewaySettings
from serve.preflight import check_port


def run_gateway(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or Ctrl-C; running requests may end within their deadline.

    Raises:
        ServiceError: the port is taken, or the server could not start.
    """
    check_port(settings.host, settings.port)
    log_json()
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises it again after its graceful end
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
        http="h11",  # httptools takes headers without end
        h11_max_incomplete_event_size=16384,
        ws="none",
        limit_concurrency=4096,
    )
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        raise ServiceError("The gateway could not start.", "Its log says why.")


def log_json() -> None:
    """Log one JSON object a line to stdout: no texts, no keys. A full disk must not stop a board."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", timestamp=True))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("signboard", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)
