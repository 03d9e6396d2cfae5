"""The gateway before the real vLLM on the nano checkpoint: messages, the SDK's routes, and nothing else of vLLM."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from benchmarks.scripted_server import eventually
from clients import SignboardClient
from core.checks import check_message
from core.park import Scene
from core.ports import free_port
from core.prompt import build_messages, prompt_name
from core.reading import Reading, usual_grid
from gateway.keys import KeyScope, new_key
from gateway.settings import HISTORY
from pipeline.recipe import Recipe
from serve.launch import prepare
from serve.process import ModelServer
from serve.settings import ServeSettings
from tests.support.collector import collecting
from tests.support.gateway_server import running_gateway

SECRET, LINE = new_key("pytest", list(KeyScope))
ALLOWED = {("post", "/v1/chat/completions"), ("get", "/v1/models"), ("get", "/health"), ("get", "/metrics")}


@pytest.fixture(scope="module")
def gateway(server: ModelServer) -> Iterator[httpx.Client]:
    with running_gateway(server.url, keys=LINE) as client:
        client.headers["authorization"] = f"Bearer {SECRET}"
        yield client


def reading_of(shown: dict[str, Any]) -> Reading:
    return Reading(shown["yesterday_temp"], shown["today_temp"])


def test_every_message_is_checked(gateway: httpx.Client) -> None:
    wanted = list(usual_grid())[::40]
    park = next(park for park in gateway.get("/parks").json() if park["park"] == "default")
    scene = Scene.of(park["season"], park["elements"])

    def ask(reading: Reading) -> tuple[Reading, httpx.Response]:
        body = {"yesterday_temp": reading.yesterday, "today_temp": reading.today, "board": "lake"}
        return reading, gateway.post("/generate/temperature", json=body)

    with ThreadPoolExecutor(16) as pool:
        for reading, answer in pool.map(ask, wanted):
            assert answer.status_code == 200, answer.text
            assert not check_message(answer.json()["generated_text"], reading, scene)
            assert answer.json()["board"] == "lake" or "newer reading" in answer.json()["warnings"][-1]
    history = gateway.get("/boards/lake/history").json()
    assert 0 < len(history) <= HISTORY
    assert all(not check_message(shown["generated_text"], reading_of(shown), scene) for shown in history)


def test_ready_means_the_trained_prompt(gateway: httpx.Client) -> None:
    answer = gateway.get("/health").json()
    assert answer["status"] == "ready"
    assert answer["fingerprint"].startswith("signboard-")


def test_sdk_clients_work_through_it(gateway: httpx.Client) -> None:
    base_url = f"{gateway.base_url}/v1".replace("//v1", "/v1")
    with openai.OpenAI(base_url=base_url, api_key=SECRET, max_retries=0) as sdk:
        assert [model.id for model in sdk.models.list()] == ["signboard", prompt_name()]
        messages: Any = build_messages(Reading(10, 20))
        plain = sdk.chat.completions.create(model="signboard", messages=messages)
        assert plain.choices[0].finish_reason == "stop"
        streamed = sdk.chat.completions.create(model="signboard", messages=messages, stream=True)
        parts: list[Any] = list(streamed)
        assert len(parts) > 3
        assert parts[-1].choices[0].finish_reason == "stop"
        with pytest.raises(openai.NotFoundError):
            sdk.chat.completions.create(model="another", messages=messages)
        with pytest.raises(openai.NotFoundError):
            sdk.completions.create(model="signboard", prompt="어제")
    with SignboardClient(base_url, api_key=SECRET) as client:
        assert client.say(10, 20).tries >= 1


def test_nothing_else_of_vllm_is_reachable(gateway: httpx.Client, server: ModelServer) -> None:
    behind = httpx.get(server.url.removesuffix("/v1") + "/openapi.json", trust_env=False).json()["paths"]
    routes = {(method, path) for path, methods in behind.items() for method in methods}
    assert len(routes) > 15
    for method, path in routes - ALLOWED:
        answer = gateway.request(method, path, json={})
        assert answer.status_code in (404, 405), (method, path)
        assert answer.json()["code"] in ("not_found", "wrong_method")
    for path in ("/v1/chat/completions/../../pause", "/v1/..%2fpause", "/v1//models", "/v1/models/..%2f..%2fmetrics"):
        assert gateway.get(path).status_code in (404, 405), path
    assert gateway.get("/v1/models/signboard").json()["id"] == "signboard"
    assert b"vllm" not in gateway.get("/metrics").content


def test_the_requests_id_reaches_vllm(gateway: httpx.Client) -> None:
    chat = {"model": "signboard", "messages": build_messages(Reading(1, 9))}
    answer = gateway.post("/v1/chat/completions", json=chat, headers={"x-request-id": "park-trace-8"})
    assert answer.json()["id"] == "chatcmpl-park-trace-8"


@pytest.mark.usefixtures("line")
def test_the_models_span_lies_beneath_the_gateways(recipe: Recipe) -> None:
    with collecting() as collector:
        settings = ServeSettings(port=free_port(), traces=collector.url)
        with (
            prepare(recipe, settings).server as server,
            running_gateway(server.url, traces=collector.url) as client,
        ):
            assert client.post("/generate/temperature", json={"yesterday_temp": 10, "today_temp": 20}).is_success
        (message,) = (span for span in collector.of("signboard-gateway") if span.name == "message")
        assert eventually(lambda: bool(collector.of("signboard-vllm")))
        beneath = [span for span in collector.of("signboard-vllm") if span.trace_id == message.trace_id]
    assert beneath
    assert "gen_ai.latency.time_in_model_inference" in {pair.key for span in beneath for pair in span.attributes}
