"""The router's flags, read by the router's own parser, and the limits that must fit each other."""

import pytest
from vllm_router.launch_router import parse_router_args
from vllm_router.router_args import RouterArgs

from core.errors import ServiceError, SettingError
from core.ports import free_port
from core.prompt import prompt_name
from gateway.server import DRAIN_MARGIN
from gateway.settings import GatewaySettings
from serve import flags, router
from serve.router import Router, given_servers, health_path
from serve.settings import ServeSettings

SERVERS = ("http://127.0.0.1:8000", "http://127.0.0.1:8001")


def new_router(deadline: float = 10, **settings: int | str) -> Router:
    return Router(SERVERS, health_path(prompt_name()), deadline, ServeSettings.model_validate(settings))


def parsed(router: Router) -> RouterArgs:
    return parse_router_args(router.command()[1:])


def test_the_routers_parser_takes_what_the_settings_say() -> None:
    found = parsed(new_router(router_host="10.0.0.1", router_port=8100, router_metrics_port=8101, start_timeout=90))
    assert found.worker_urls == list(SERVERS)
    assert (found.host, found.port) == ("10.0.0.1", 8100)
    assert (found.prometheus_host, found.prometheus_port) == ("10.0.0.1", 8101)
    assert found.worker_startup_timeout_secs == 90
    assert found.health_check_endpoint == f"/{prompt_name()}/health"


def test_no_flag_is_the_routers_own_default() -> None:
    """What equals the default needs no flag, and a default that changes is noticed."""
    found, default = parsed(new_router()), parse_router_args([])
    differ = {name for name in RouterArgs.__dataclass_fields__ if getattr(found, name) != getattr(default, name)}
    assert differ == {
        "worker_urls", "policy", "retry_max_retries", "request_timeout_secs", "health_check_endpoint",
        "health_check_interval_secs", "health_check_timeout_secs", "health_failure_threshold",
        "health_success_threshold", "cb_failure_threshold", "cb_success_threshold", "cb_timeout_duration_secs",
        "worker_startup_check_interval", "log_level",
    }  # fmt: skip


@pytest.mark.parametrize("deadline", [1.0, 2.0, 10.0, 30.0])
def test_two_attempts_fit_into_the_gateways_deadline(deadline: float) -> None:
    found = parsed(new_router(deadline))
    assert found.request_timeout_secs >= 1
    assert found.request_timeout_secs * found.retry_max_retries <= max(deadline, 2)


def test_a_silent_server_is_left_before_the_client_asks_again() -> None:
    """The gateway's client repeats a request after a third of the deadline: it must then reach another server."""
    found = parsed(new_router(GatewaySettings().deadline))
    assert found.health_check_interval_secs + found.health_check_timeout_secs <= GatewaySettings().deadline / 3


def test_what_stops_outlasts_running_requests() -> None:
    drain = GatewaySettings().deadline + DRAIN_MARGIN
    assert drain <= flags.DRAIN_SECONDS < ServeSettings().stop_timeout
    assert drain < router.STOP_SECONDS


def test_servers_are_given_with_or_without_v1() -> None:
    assert given_servers(" http://a:8000/v1  http://b:8000/ ") == ("http://a:8000", "http://b:8000")


@pytest.mark.parametrize("text", ["", "http://a:8000"])
def test_a_router_needs_two_servers(text: str) -> None:
    with pytest.raises(SettingError, match=f"names {len(text.split())}"):
        given_servers(text)


def test_a_taken_port_is_found_before_anything_starts() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServiceError, match="cannot be used"):
            new_router(router_port=free_port(), router_metrics_port=taken.getsockname()[1]).check_ports()


def test_without_a_prompt_any_healthy_server_will_do() -> None:
    assert health_path(None) == "/health"
