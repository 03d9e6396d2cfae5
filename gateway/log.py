"""The gateway's log: one JSON object a line on stdout, without message texts or keys."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

LOG = logging.getLogger("signboard.gateway")


def log_json() -> None:
    """Set up logging for the process. A full disk must not stop a board."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", timestamp=True))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("signboard", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)
