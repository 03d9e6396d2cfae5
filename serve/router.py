"""vLLM's own router (vllm-router) before several vLLM servers: its command line.

In: the servers' addresses, the prompt that they must know, the gateway's deadline. Out: a command that gives one
OpenAI-compatible address. The router keeps no state, so two of them may send to the same servers.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from core.errors import SettingError
from core.ports import check_port
from serve.settings import ServeSettings

ATTEMPTS = 2  # for one request, the first included
HEALTH_SECONDS = 1  # between two health checks of a server
HEALTH_TIMEOUT = 2  # seconds for one of them
FAULTS = 3  # failed requests in a row after which a server gets none, although its health is fine
PENALTY = 5  # seconds for which it gets none
STOP_SECONDS = 20.0  # for running requests, before the router is killed


@dataclass(frozen=True, slots=True)
class Router:
    """A router: where it listens, and what it sends requests to.

    Args:
        servers: the servers' addresses, without /v1; two or more.
        health: the path that a server answers with 200 if it is well and knows the prompt.
        deadline: the gateway's, seconds.
        settings: host and ports.
    """

    servers: tuple[str, ...]
    health: str
    deadline: float
    settings: ServeSettings

    @property
    def url(self) -> str:
        """The address for clients, ending in /v1."""
        return f"http://{self.settings.router_host}:{self.settings.router_port}/v1"

    def command(self) -> list[str]:
        """Return the command that starts it; docs/scale.md has the reasons at length."""
        host, port = self.settings.router_host, self.settings.router_port
        return [
            str(Path(sys.executable).with_name("vllm-router")),
            "--worker-urls",
            *self.servers,
            f"--host={host}",
            f"--port={port}",
            f"--prometheus-host={host}",
            f"--prometheus-port={self.settings.router_metrics_port}",
            # The one with fewer running requests. The default looks for prompts that begin alike: all of ours do.
            "--policy=power_of_two",
            f"--retry-max-retries={ATTEMPTS}",
            # A silent server costs a third of the deadline, as it costs the client that asks without a router.
            f"--request-timeout-secs={max(1, int(self.deadline / 3))}",
            f"--health-check-endpoint={self.health}",
            f"--health-check-interval-secs={HEALTH_SECONDS}",
            f"--health-check-timeout-secs={HEALTH_TIMEOUT}",
            "--health-failure-threshold=1",
            "--health-success-threshold=1",
            # A server that fails at once has the fewest running requests, so it would get most of them.
            f"--cb-failure-threshold={FAULTS}",
            "--cb-success-threshold=1",
            f"--cb-timeout-duration-secs={PENALTY}",
            f"--worker-startup-timeout-secs={int(self.settings.start_timeout)}",
            "--worker-startup-check-interval=1",
            "--log-level=error",  # else a line for each request, with warning, too (0.1.17)
        ]

    def check_ports(self) -> None:
        """Check that both ports are free.

        Raises:
            ServiceError: one is not.
        """
        for port in (self.settings.router_port, self.settings.router_metrics_port):
            check_port(self.settings.router_host, port)

    def become(self) -> NoReturn:
        """Replace this process with the router."""
        command = self.command()
        sys.stdout.flush()
        os.execv(command[0], command)  # noqa: S606 - needs no shell


def given_servers(text: str) -> tuple[str, ...]:
    """Return the servers' addresses that the setting names.

    Raises:
        SettingError: fewer than two.
    """
    servers = tuple(address.rstrip("/").removesuffix("/v1") for address in text.split())
    if len(servers) < 2:
        raise SettingError(
            f"A router needs two servers or more; SIGNBOARD_ROUTER_WORKERS names {len(servers)}.",
            "Write their addresses there, such as http://10.0.0.1:8000 http://10.0.0.2:8000.",
        )
    return servers


def health_path(prompt: str | None) -> str:
    """Return the path that only a healthy server of this prompt answers with 200; None: any server does."""
    return f"/{prompt}/health" if prompt else "/health"
