"""Two real vLLM servers behind real routers: an update to another prompt, a server that leaves, one that is killed."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from benchmarks.scripted_server import eventually
from clients import AsyncSignboardClient
from core.ports import free_port
from core.prompt import GOLDEN, PROMPT_VERSION, build_messages, prompt_name
from core.reading import Reading
from pipeline.recipe import Recipe
from serve.launch import Variant, prepare
from serve.process import ModelServer
from serve.router import Router, health_path
from serve.settings import ServeSettings
from serve.supervisor import RouterProcess

NEW = prompt_name()
OLD = prompt_name(PROMPT_VERSION - 1, [*build_messages(*GOLDEN)])
TOKENS = 300  # of a long answer, which still runs when its server is told to stop
pytestmark = pytest.mark.usefixtures("line")


@pytest.fixture(scope="module")
def old(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """The same checkpoint, served as one of the prompt before."""
    settings = ServeSettings(port=free_port())
    ready = prepare(recipe, settings, Variant.AWQ)
    command = [part.replace(NEW, OLD) for part in ready.server.command]
    log = tmp_path_factory.mktemp("old") / "serve.log"
    server = ModelServer(command, ready.server._environment, recipe.serve.model_name, settings, log)
    with server:
        yield server


def routed(stack: ExitStack, folder: Path, prompt: str | None, servers: tuple[ModelServer, ...]) -> Router:
    """Start a router before the servers, for one prompt."""
    settings = ServeSettings(router_port=free_port(), router_metrics_port=free_port())
    addresses = tuple(server.url.removesuffix("/v1") for server in servers)
    router = Router(addresses, health_path(prompt), 10, settings)
    process = stack.enter_context(RouterProcess(router, folder / f"router-{settings.router_port}.log"))
    assert eventually(lambda: alive(router) == 200, 60), process.log.read_text()
    return router


def alive(router: Router) -> int:
    try:
        return httpx.get(router.url.removesuffix("/v1") + "/liveness", trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def sent(router: Router, server: ModelServer) -> str:
    text = httpx.get(f"http://127.0.0.1:{router.settings.router_metrics_port}/metrics", trust_env=False).text
    name = f'vllm_router_processed_requests_total{{worker="{server.url.removesuffix("/v1")}"}} '
    return next((line.removeprefix(name) for line in text.splitlines() if line.startswith(name)), "0")


def out(router: Router, server: ModelServer) -> bool:
    """Return whether the router knows that a server is not for it."""
    text = httpx.get(f"http://127.0.0.1:{router.settings.router_metrics_port}/metrics", trust_env=False).text
    return f'vllm_router_worker_health{{worker="{server.url.removesuffix("/v1")}"}} 0' in text


async def say(router: Router, model: str, count: int) -> None:
    """Ask for messages, eight at once; each error fails the test."""
    async with AsyncSignboardClient(router.url, model=model, deadline=30) as client:
        for _ in range(count // 8):
            await asyncio.gather(*(client.say(10, 20) for _ in range(8)))


def test_a_model_of_another_prompt_does_not_answer(old: ModelServer, server: ModelServer) -> None:
    body = {"messages": build_messages(Reading(10, 20)), "max_tokens": 2}
    for asked, name, status in ((old, NEW, 404), (server, OLD, 404), (old, OLD, 200), (server, NEW, 200)):
        answer = httpx.post(f"{asked.url}/chat/completions", json={"model": name, **body}, timeout=30)
        assert answer.status_code == status
    assert [one["id"] for one in httpx.get(f"{old.url}/models").json()["data"]] == ["signboard", OLD]


def test_in_the_middle_of_an_update_each_gateway_is_answered_by_its_own_model(
    old: ModelServer, server: ModelServer, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        for_new = routed(stack, tmp_path, NEW, (server, old))
        for_old = routed(stack, tmp_path, OLD, (server, old))
        assert eventually(lambda: out(for_new, old) and out(for_old, server))
        asyncio.run(say(for_new, NEW, 24))
        asyncio.run(say(for_old, OLD, 24))
        assert (sent(for_new, old), sent(for_old, server)) == ("0", "0")


def test_a_server_that_leaves_finishes_its_requests_and_new_ones_go_elsewhere(
    old: ModelServer, server: ModelServer, tmp_path: Path
) -> None:
    """This is the last of `old`. Both are asked by the recipe's name, as servers of one prompt."""
    long: dict[str, Any] = {"ignore_eos": True, "min_tokens": TOKENS}
    messages: Any = build_messages(Reading(10, 20))
    leaving: Any = old._process
    begun = threading.Barrier(5)  # four requests, and the test
    with ExitStack() as stack:
        router = routed(stack, tmp_path, None, (server, old))
        pool = stack.enter_context(ThreadPoolExecutor(4))
        sdk = stack.enter_context(openai.OpenAI(base_url=old.url, api_key="none", max_retries=0))

        def ask() -> Any:
            stream: Any = sdk.chat.completions.create(
                model=OLD, messages=messages, max_tokens=TOKENS, stream=True, extra_body=long
            )
            first = next(stream)
            begun.wait(30)
            return [first, *stream][-1].choices[0].finish_reason

        running = [pool.submit(ask) for _ in range(4)]
        begun.wait(30)
        os.kill(leaving.pid, signal.SIGTERM)
        asyncio.run(say(router, "signboard", 32))
        assert [one.result() for one in running] == ["length"] * 4
        assert leaving.wait(30) is not None
        asyncio.run(say(router, "signboard", 8))
