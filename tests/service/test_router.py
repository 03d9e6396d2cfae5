"""vLLM's router, the real one, between a real gateway and two scripted servers that fail."""

import asyncio
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.router import Fault, Routed, routed, suffer
from benchmarks.scripted_server import GOOD, eventually, saying, scripted
from core.ports import free_port
from core.prompt import prompt_name
from serve.router import Router, health_path
from serve.settings import ServeSettings
from serve.supervisor import RouterProcess
from tests.service.test_gateway_process import TEN_TWENTY, answers
from tests.support.gateway_server import running_gateway
from tests.support.monitoring import OF_ROUTER


@pytest.fixture
def place() -> Iterator[Routed]:
    """A router before two scripted servers."""
    with routed() as running:
        yield running


# Seconds after which the failing server gets no more requests, and requests that fail then. Measured: docs/scale.md.
# The bounds leave room for a busy machine.
COST = {
    Fault.KILLED: (4.0, 0),
    Fault.STOPPED: (8.0, 0),
    Fault.ERRORS: (4.0, 0),
}


@pytest.mark.parametrize("fault", COST)
def test_no_message_is_lost_when_one_of_two_servers_fails(fault: Fault, place: Routed) -> None:
    seen = asyncio.run(suffer(place, fault, callers=4))
    until_none, failed = COST[fault]
    assert len(seen.failed) == failed, seen.failed
    assert seen.messages > 20
    assert seen.until_back < 15
    if fault is not Fault.ERRORS:  # one trial every five seconds goes on
        assert seen.until_none < until_none


def test_a_slow_server_gets_a_trial_now_and_then_and_no_message_is_lost(place: Routed) -> None:
    seen = asyncio.run(suffer(place, Fault.SLOW, callers=4))
    assert seen.failed == ()
    assert seen.sent < 20, "else the breaker of the router did not open"


def test_the_gateway_answers_while_a_server_dies(place: Routed) -> None:
    with running_gateway(place.router.url) as gateway:
        for number in range(20):
            if number == 5:
                place.servers[0].hurt(Fault.KILLED)
            assert gateway.post("/generate/temperature", json=TEN_TWENTY).status_code == 200
        assert gateway.get("/health").json()["model"] == prompt_name()


def test_the_router_exposes_what_alerts_watch(place: Routed) -> None:
    place.servers[0].hurt(Fault.KILLED)
    address = f"http://127.0.0.1:{place.router.settings.router_metrics_port}/metrics"
    dead = f'vllm_router_worker_health{{worker="{place.servers[0].url}"}} 0'
    assert eventually(lambda: dead in httpx.get(address, trust_env=False).text)
    told = set(re.findall(r"^(vllm_router_\w+)", httpx.get(address, trust_env=False).text, re.MULTILINE))
    assert told >= OF_ROUTER


def test_a_router_that_stops_finishes_its_requests(tmp_path: Path) -> None:
    got: list[httpx.Response] = []
    with scripted(saying(GOOD, delay=1.5)) as one, scripted(saying(GOOD, delay=1.5)) as two:
        settings = ServeSettings(router_port=free_port(), router_metrics_port=free_port())
        servers = (one.url.removesuffix("/v1"), two.url.removesuffix("/v1"))
        router = Router(servers, health_path(prompt_name()), 10, settings)
        with RouterProcess(router, tmp_path / "log") as process:
            assert eventually(lambda: answers(router.url.removesuffix("/v1") + "/health"), 30), process.log.read_text()
            body = {"model": prompt_name(), "messages": [{"role": "user", "content": "어제 10도, 오늘 20도"}]}

            def ask() -> None:
                got.append(httpx.post(f"{router.url}/chat/completions", json=body, timeout=20, trust_env=False))

            asking = threading.Thread(target=ask)
            asking.start()
            assert eventually(lambda: len(one.requests) + len(two.requests) == 1)
            running = process._process
            assert running
            running.send_signal(signal.SIGTERM)
            asking.join()
            assert got[0].json()["choices"][0]["message"]["content"] == GOOD
            assert running.wait(20) == 0
