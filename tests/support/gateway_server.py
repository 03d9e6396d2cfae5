"""A gateway in a thread of the test, over real HTTP, before any model."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from benchmarks.scripted_server import eventually
from core.ports import free_port
from gateway.app import create_app
from gateway.settings import GatewaySettings


@contextmanager
def running_gateway(model_url: str, port: int | None = None, **settings: Any) -> Iterator[httpx.Client]:
    """Run a gateway; yield a client of it."""
    port = port or free_port()
    options: dict[str, Any] = {
        "deadline": 10,
        "probe_seconds": 0.1,
        "health_seconds": 0.1,
        "rate_limit": "100000/minute",
    } | settings
    app = create_app(GatewaySettings(model_url=model_url, port=port, **options))
    config = uvicorn.Config(app, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert eventually(lambda: server.started, 120)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
