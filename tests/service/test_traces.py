"""Traces: what a collector gets of a request, and that it never gets a text or a key."""

from benchmarks.scripted_server import LABELLED, right_answer, saying, scripted
from tests.support.collector import collecting
from tests.support.gateway_server import running_gateway

READING = {"yesterday_temp": 33, "today_temp": 36}


def test_a_message_is_a_span_beneath_its_request_and_the_model_is_told() -> None:
    with collecting() as collector:
        with scripted(right_answer) as model, running_gateway(model.url, traces=collector.url) as client:
            assert client.post("/generate/temperature", json=READING).status_code == 200
            client.get("/health")
            client.get("/boards/main?blank=true")
        request, message = sorted(collector.of("signboard-gateway"), key=lambda span: span.name)
    assert (request.name, message.name) == ("POST /generate/temperature", "message")
    assert message.trace_id == request.trace_id
    assert message.parent_span_id == request.span_id
    told = {pair.key: pair.value.int_value for pair in message.attributes}
    assert told == {"signboard.yesterday": 33, "signboard.today": 36, "signboard.tries": 1}
    (asked,) = (one for one in model.requests if one.body.get("max_tokens") != 1)
    assert asked.headers["traceparent"].split("-")[1] == message.trace_id.hex()


def test_a_callers_trace_goes_on() -> None:
    ours = "0af7651916cd43dd8448eb211c80319c"
    with collecting() as collector:
        with scripted(right_answer) as model, running_gateway(model.url, traces=collector.url) as client:
            told = {"traceparent": f"00-{ours}-b7ad6b7169203331-01"}
            client.post("/v1/chat/completions", json={"model": "signboard", "messages": []}, headers=told)
        assert {span.trace_id.hex() for span in collector.of("signboard-gateway")} == {ours}
    assert model.requests[-1].headers["traceparent"].split("-")[1] == ours


def test_a_refused_text_is_not_in_its_span() -> None:
    with collecting() as collector:
        with scripted(saying(LABELLED)) as model, running_gateway(model.url, traces=collector.url) as client:
            assert client.post("/generate/temperature", json=READING).json()["code"] == "no_message"
        (message,) = (span for span in collector.of("signboard-gateway") if span.name == "message")
    assert message.status.code == message.status.STATUS_CODE_ERROR
    assert {pair.key: pair.value.string_value for pair in message.attributes}["error.type"] == "MessageError"
    assert not message.events
    assert not message.status.message


def test_nothing_is_traced_by_default() -> None:
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        client.post("/generate/temperature", json=READING)
    assert not any("traceparent" in request.headers for request in model.requests)


def test_a_collector_that_is_gone_costs_no_request() -> None:
    with collecting() as collector:
        gone = collector.url
    with scripted(right_answer) as model, running_gateway(model.url, traces=gone) as client:
        assert client.post("/generate/temperature", json=READING).elapsed.total_seconds() < 5
