"""The gateway's clients: misspelt fields, uptime monitors with HEAD, OpenAI SDKs and the errors that they can read."""

from typing import Any

import httpx
import openai
import pytest

from benchmarks.scripted_server import GOOD, Reply, completion, saying, scripted
from gateway.keys import KeyScope, new_key
from tests.support.gateway_server import running_gateway

TEN_TWENTY = {"yesterday_temp": 10, "today_temp": 20}
NOWHERE = "http://127.0.0.1:9/v1"  # discard: nothing listens
MODELS = '{"object": "list", "data": [{"id": "signboard", "object": "model", "max_model_len": 512}]}'


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/generate/temperature", TEN_TWENTY | {"unit_of_measurement": "°F"}, "unit_of_measurement"),
        ("/generate/temperature", TEN_TWENTY | {"board_id": "lake"}, "board_id"),
        ("/generate/batch", {"readings": [TEN_TWENTY | {"boards": "lake"}]}, "readings.0.boards"),
        ("/generate/batch", {"readings": [TEN_TWENTY], "board": "lake"}, "body.board"),
        ("/generate/temperature?board=lake", TEN_TWENTY, "board"),
    ],
)
def test_an_unknown_field_is_rejected_by_name(path: str, body: dict[str, Any], named: str) -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        answer = client.post(path, json=body)
        assert answer.status_code == 422
        assert named in answer.json()["detail"]
        assert model.requests == []


@pytest.mark.parametrize("path", ["/boards/main?limit=3", "/boards/main/history?limit=3", "/events?bord=lake"])
def test_an_unknown_query_parameter_is_rejected_by_name(path: str) -> None:
    with running_gateway(NOWHERE) as client:
        answer = client.get(path)
        assert answer.status_code == 422
        assert path.split("?")[1].split("=", maxsplit=1)[0] in answer.json()["detail"]


def test_head_answers_wherever_get_does_without_a_body() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        client.post("/generate/temperature", json=TEN_TWENTY)
        for path in ("/health", "/", "/metrics", "/boards/main", "/boards/main/history", "/docs", "/openapi.json"):
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == get.headers["content-type"], path
        stream = client.head("/events", timeout=5)
        assert (stream.status_code, stream.content) == (200, b"")
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert client.head("/generate/temperature").status_code == 405
        assert client.head("/nothing").status_code == 404
    with running_gateway(NOWHERE) as client:
        assert client.head("/health").status_code == 503


def test_openai_clients_find_the_model() -> None:
    with scripted(Reply(completion(GOOD))) as model, running_gateway(model.url) as client:
        model.models = MODELS
        assert client.get("/v1/models").json()["data"][0]["id"] == "signboard"
        assert client.head("/v1/models").status_code == 200
        assert client.get("/v1/models/signboard").json() == {
            "id": "signboard",
            "object": "model",
            "max_model_len": 512,
        }
        missing = client.get("/v1/models/gpt-4")
        assert missing.status_code == 404
        assert "gpt-4" in missing.json()["error"]["message"]
        with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none") as sdk:
            assert sdk.models.retrieve("signboard").id == "signboard"


def test_every_error_under_v1_has_openais_error_object() -> None:
    secret, line = new_key("park", [KeyScope.BOARD])
    with running_gateway(NOWHERE, keys=line) as client:
        errors = {
            "no_key": client.post("/v1/chat/completions", json={}),
            "no_scope": client.get("/v1/models", headers={"authorization": f"Bearer {secret}"}),
        }
    with running_gateway(NOWHERE, body_limit=2048) as client:
        errors |= {
            "not_found": client.get("/v1/nothing"),
            "wrong_method": client.get("/v1/chat/completions"),
            "bad_input": client.post("/v1/chat/completions", content="{}", headers={"content-type": "text/plain"}),
            "too_large": client.post("/v1/chat/completions", content=b" " * 3000),
            "wrong_host": client.get("/v1/models", headers={"host": "evil.example"}),
            "model_down": client.post("/v1/chat/completions", json={"messages": []}),
        }
    for code, answer in errors.items():
        body = answer.json()
        assert body["code"] == body["error"]["code"] == code
        assert body["title_en"] in body["error"]["message"]
        assert body["error"]["type"] == ("server_error" if answer.status_code >= 500 else "invalid_request_error")


def test_the_sdk_shows_the_reason_of_an_error() -> None:
    _, line = new_key("park", [KeyScope.OPENAI])
    with running_gateway(NOWHERE, keys=line) as client:
        sdk = openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="wrong", max_retries=0)
        with sdk, pytest.raises(openai.AuthenticationError, match="API key is missing or wrong") as caught:
            sdk.models.list()
        assert caught.value.code == "no_key"


def test_errors_elsewhere_keep_their_form() -> None:
    with running_gateway(NOWHERE) as client:
        assert "error" not in client.get("/boards/main").json()


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
        {"structured_outputs": {"json": {}, "regex": "a"}},
        {"guided_json": {"type": "object"}},
        {"guided_regex": "[0-9]+"},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"modalities": ["audio"]},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_structured_output_is_rejected_by_name(asked: dict[str, Any]) -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        answer = client.post("/v1/chat/completions", json={"messages": [], **asked})
        assert answer.status_code == 400
        assert next(iter(asked)) in answer.json()["error"]["message"]
        assert model.requests == []


@pytest.mark.parametrize("asked", [{}, {"response_format": {"type": "text"}}, {"tools": []}, {"tools": None}], ids=str)
def test_plain_requests_pass(asked: dict[str, Any]) -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        answer: httpx.Response = client.post("/v1/chat/completions", json={"messages": [], **asked})
        assert answer.json()["choices"][0]["message"]["content"] == GOOD


@pytest.mark.parametrize(
    "body", [b"[" * 60_000, b'{"guided_\\ud800": 1}', b"null", b"{"], ids=["deep", "surrogate", "null", "half"]
)
def test_a_hostile_chat_body_is_vllms_to_answer_and_no_fault_of_the_gateway(body: bytes) -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code != 500


def test_looks_at_a_board_do_not_spend_the_rate_of_the_readings() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url, rate_limit="2/minute") as client:
        for _ in range(10):
            assert client.get("/boards/main?blank=true").status_code == 200
            assert client.get("/").status_code == 200
        codes = [client.post("/generate/temperature", json=TEN_TWENTY).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert client.get("/boards/main/frames").status_code == 200
        assert client.get("/boards/main.png").status_code == 429, "drawing one is work"


def test_a_list_of_models_that_vllm_refuses_is_passed_on() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        model.models_status = 401
        assert client.get("/v1/models/signboard").status_code == 401
