"""The gateway over real HTTP before a scripted model: API, parks, errors, keys, limits and faults of the model."""

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from benchmarks.scripted_server import (
    GOOD,
    LABELLED,
    Reply,
    Request,
    ScriptedServer,
    completion,
    eventually,
    right_answer,
    saying,
    scripted,
)
from core.catalogue import elements
from core.checks import check_message
from core.park import Park, Scene
from core.prompt import user_text
from core.reading import Reading
from core.season import Season
from core.sign import DEFAULT_SIGN, Sign
from gateway.app import create_app
from gateway.boards import Boards, Ticket
from gateway.keys import KeyScope, new_key
from gateway.problems import KINDS
from gateway.settings import GatewaySettings
from tests.support.gateway_server import running_gateway

TEN_TWENTY = {"yesterday_temp": 10, "today_temp": 20}
CASES = os.environ.get("SIGNBOARD_SCHEMA_CASES", "30")  # generated requests for each address
A_MINUTE = 60.0  # seconds: longer than these tests' client waits, so what must not be waited for is seen
NOWHERE = "http://127.0.0.1:9/v1"  # discard: nothing listens


def generate(client: httpx.Client, **more: Any) -> httpx.Response:
    return client.post("/generate/temperature", json=TEN_TWENTY | more)


def held_until(
    released: threading.Event, held: Callable[[Request], bool] = lambda _: True
) -> Callable[[Request], Reply]:
    """Return a script of right answers; those that are held come once the event is set: order is tested, not speed."""

    def answer(request: Request) -> Reply:
        if held(request):
            released.wait(A_MINUTE)
        return right_answer(request)

    return answer


def today_is_20(request: Request) -> bool:
    return "오늘 20도" in request.body["messages"][-1]["content"]


def scene_of(body: dict[str, Any]) -> Scene:
    """Return the scene that an answer was written for."""
    return Scene.of(body["season"], body["elements"])


def told(model: ScriptedServer) -> str:
    """Return the user turn of the last request."""
    return str(model.requests[-1].body["messages"][-1]["content"])


def problem(answer: httpx.Response, code: str) -> dict[str, Any]:
    """Check that an answer is the problem `code` in RFC 9457's form, and return it."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body: dict[str, Any] = answer.json()
    assert (body["code"], body["status"], answer.status_code) == (code, KINDS[code][0], KINDS[code][0])
    assert (body["title"], body["title_en"]) == KINDS[code][1:]
    assert body["type"] == f"urn:signboard:problem:{code}"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["detail"]
    return body


def test_the_originals_callers_get_compatible_answers() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        answer = client.post("/generate/temperature", json={"yesterday_temp": 10, "today_temp": 20, "temperature": 0.7})
        assert answer.status_code == 200
        body = answer.json()
        assert body["generated_text"] == GOOD
        assert 0 < body["generation_time"] < 10
        assert body["pages"] == DEFAULT_SIGN.pages(GOOD)
        assert model.requests[0].body["temperature"] == 0.7
        generate(client)
        assert "temperature" not in model.requests[-1].body, "the checkpoint's own"


def test_health_asks_the_model_and_is_cached() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url, health_seconds=60) as client:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.get("/health"), range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert answers[0].json()["status"] == "ready"
        assert len(model.requests) == 1
        assert model.requests[0].body["max_tokens"] == 1
    with running_gateway(NOWHERE) as client:
        answer = client.get("/health")
        problem(answer, "model_down")
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"yesterday_temp": 10}',
        b'{"yesterday_temp": "10", "today_temp": 20}',
        b'{"yesterday_temp": true, "today_temp": 20}',
        b'{"yesterday_temp": NaN, "today_temp": 20}',
        b'{"yesterday_temp": Infinity, "today_temp": 20}',
        b'{"yesterday_temp": 10, "today_temp": 20, "temperature": 3}',
        b'{"yesterday_temp": 10, "today_temp": 20, "board": "../../etc"}',
        '{"yesterday_temp": 10, "today_temp": 20, "board": "공원"}'.encode(),
        b'{"yesterday_temp": 10, "today_temp": 20, "park": "../../etc"}',
        b'{"yesterday_temp": 10, "today_temp": 20, "park": 7}',
        b'{"yesterday_temp": 10, "today_temp": 20, "date": "2026-02-30"}',
        b'{"yesterday_temp": 10, "today_temp": 20, "date": "tomorrow"}',
        b'{"yesterday_temp": 10, "today_temp": 20, "date": 1751328000}',
        b'{"yesterday_temp": 10, "today_temp": 20, "date": "1751328000"}',
        b'{"yesterday_temp": 10, "today_temp": 1e400}',
        b"\xff\xfe",
        b"[" * 5000,
    ],
)
def test_bad_input_never_reaches_the_model(body: bytes) -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        answer = client.post("/generate/temperature", content=body, headers={"content-type": "application/json"})
        problem(answer, "bad_input")
        assert model.requests == []


def test_a_temperature_beyond_the_limits_is_a_typed_error() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        problem(generate(client, today_temp=85), "bad_reading")
        assert model.requests == []


def test_a_cross_site_form_is_rejected() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        plain = client.post(
            "/generate/temperature", content=json.dumps(TEN_TWENTY), headers={"content-type": "text/plain"}
        )
        problem(plain, "bad_input")
        problem(client.post("/generate/temperature", content=json.dumps(TEN_TWENTY)), "bad_input")  # of no type at all
        for host in ("evil.example", "127.0.0.1.evil.example:8080", "evil.example:127.0.0.1", ""):
            problem(client.get("/health", headers={"host": host}), "wrong_host")
        blob = client.post("/v1/chat/completions", content="{}", headers={"content-type": "text/plain"})
        problem(blob, "bad_input")
        assert model.requests == []
        for host in ("localhost:8080", "[::1]:8080", "127.0.0.1"):
            assert client.get("/health", headers={"host": host}).status_code == 200


def test_a_rejected_text_is_never_exposed() -> None:
    with scripted(saying(LABELLED)) as model, running_gateway(model.url) as client:
        answer = generate(client)
        assert "label" in problem(answer, "no_message")["detail"]
        assert "출력" not in answer.text
        problem(client.get("/boards/main"), "not_found")
        assert client.get("/boards/main/history").json() == []
        assert 'signboard_rejected_samples_total{problem="label"} 4.0' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply("busy", 500), "model_down"),
        (Reply("{", 200), "model_down"),
        (Reply("<html>", 200, "text/html"), "model_down"),
        (saying(GOOD, drop=True), "model_down"),
        (saying(GOOD, delay=A_MINUTE), "deadline"),
        (saying(GOOD, drip=A_MINUTE / len(completion(GOOD).encode())), "deadline"),
    ],
)
def test_a_faulty_model_is_a_typed_error_in_time(reply: Reply, code: str) -> None:
    with scripted(reply) as model, running_gateway(model.url, deadline=1) as client:
        answer = generate(client)
        problem(answer, code)
        assert ("retry-after" in answer.headers) == (answer.status_code == 503)


def test_excess_requests_are_rejected_immediately() -> None:
    released = threading.Event()
    with (
        scripted(held_until(released)) as model,
        running_gateway(model.url, running=1, waiting=1, deadline=A_MINUTE) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        accepted = [pool.submit(generate, client, board=None)]
        assert eventually(lambda: len(model.requests) == 1)
        accepted.append(pool.submit(generate, client, board=None))
        assert eventually(lambda: "signboard_waiting 1.0" in client.get("/metrics").text)
        for _ in range(4):
            problem(generate(client, board=None), "busy")
        assert not any(request.done() for request in accepted), "rejected before anybody else was answered"
        released.set()
        assert [request.result().status_code for request in accepted] == [200, 200]


def test_a_dead_connection_is_retried_long_before_the_deadline() -> None:
    with (
        scripted(saying(GOOD, delay=A_MINUTE), saying(GOOD)) as model,
        running_gateway(model.url, deadline=9) as client,
    ):
        answer = client.post("/generate/temperature", json=TEN_TWENTY)
        assert answer.json()["generated_text"] == GOOD, "or the deadline would have passed"
        assert (answer.json()["tries"], len(model.requests)) == (1, 2)


def test_queued_requests_time_out_at_the_deadline() -> None:
    released = threading.Event()
    with (
        scripted(held_until(released)) as model,
        running_gateway(model.url, running=1, deadline=1, failures=100) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        answers = list(pool.map(lambda _: generate(client, board=None), range(4)))
        released.set()  # only now: each was answered while the model had answered nobody
        for answer in answers:
            problem(answer, "deadline")


def test_the_breaker_opens_while_the_model_is_down_and_closes_when_it_is_back() -> None:
    broken = threading.Event()
    broken.set()

    def answer(request: Request) -> Reply:
        return Reply("no", 503) if broken.is_set() else right_answer(request)

    with scripted(answer) as model, running_gateway(model.url, failures=3) as client:
        for _ in range(3):
            problem(generate(client), "model_down")
        before = sum(request.body.get("max_tokens") != 1 for request in model.requests)
        for _ in range(20):
            problem(generate(client), "model_down")
        assert sum(request.body.get("max_tokens") != 1 for request in model.requests) == before
        assert "signboard_breaker_open 1.0" in client.get("/metrics").text
        broken.clear()
        assert eventually(lambda: generate(client).status_code == 200, 5)
        assert "signboard_breaker_open 0.0" in client.get("/metrics").text


def test_identical_readings_of_a_board_share_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    released, joined = threading.Event(), []
    ticket = Boards.ticket

    def counted(boards: Boards, board: str, *more: Any) -> Ticket:
        joined.append(board)
        return ticket(boards, board, *more)

    monkeypatch.setattr(Boards, "ticket", counted)
    with (
        scripted(held_until(released)) as model,
        running_gateway(model.url, deadline=A_MINUTE) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        twins = [pool.submit(generate, client, board="lake") for _ in range(8)]
        assert eventually(lambda: len(joined) == len(twins))
        released.set()
        assert len({twin.result().json()["generated_text"] for twin in twins}) == 1
        assert len(model.requests) == 1
        list(pool.map(lambda number: generate(client, board=f"gate-{number}"), range(3)))
        assert len(model.requests) == 4


def test_a_late_message_for_an_older_reading_is_not_shown() -> None:
    released = threading.Event()
    with (
        scripted(held_until(released, today_is_20)) as model,
        running_gateway(model.url) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        older = pool.submit(generate, client)
        assert eventually(lambda: len(model.requests) == 1)
        assert generate(client, today_temp=25).status_code == 200
        released.set()
        late = older.result()
        assert late.status_code == 200
        assert late.json()["board"] is None, "no board shows it"
        assert "newer reading" in late.json()["warnings"][-1]
        assert client.get("/boards/main").json()["message"]["today_temp"] == 25
        assert [shown["today_temp"] for shown in client.get("/boards/main/history").json()] == [25]


def test_a_message_without_a_free_board_is_reported() -> None:
    """Two new boards at the same time, room for one: the second message is not shown anywhere."""
    released = threading.Event()
    with (
        scripted(held_until(released, today_is_20)) as model,
        running_gateway(model.url, boards=1) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        slow = pool.submit(generate, client, board="lake")
        assert eventually(lambda: len(model.requests) == 1)
        assert generate(client, board="hill", today_temp=25).json()["board"] == "hill"
        released.set()
        late = slow.result().json()
        assert late["board"] is None
        assert "too many other boards" in late["warnings"][-1]
        problem(client.get("/boards/lake"), "not_found")


def test_the_configured_model_name_is_used() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url, model_name="park-writer") as client:
        assert client.get("/health").json()["model"] == "park-writer"
        assert generate(client).status_code == 200
        assert {request.body["model"] for request in model.requests} == {"park-writer"}


def test_each_key_has_its_own_rate_limit() -> None:
    first, first_line = new_key("lake", [KeyScope.BOARD])
    second, second_line = new_key("hill", [KeyScope.BOARD])
    keys = f"{first_line} {second_line}"
    with scripted(saying(GOOD)) as model, running_gateway(model.url, keys=keys, rate_limit="2/minute") as client:
        for secret in (first, second):
            client.headers["authorization"] = f"Bearer {secret}"
            assert [generate(client).status_code for _ in range(3)] == [200, 200, 429]


def test_a_batch_has_an_answer_for_each_reading() -> None:
    readings = [
        TEN_TWENTY | {"board": "a"},
        {"yesterday_temp": -90, "today_temp": 3},
        {"yesterday_temp": 3, "today_temp": -5, "board": None},
    ]
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        answer = client.post("/generate/batch", json={"readings": readings})
        assert answer.status_code == 200
        first, second, third = answer.json()["results"]
        assert not check_message(first["generated_text"], Reading(10, 20), scene_of(first))
        assert second["code"] == "bad_reading"
        assert not check_message(third["generated_text"], Reading(3, -5), scene_of(third))
        assert client.get("/boards/a").json()["message"]["generated_text"] == first["generated_text"]
        problem(client.post("/generate/batch", json={"readings": [TEN_TWENTY] * 65}), "bad_input")
        problem(client.post("/generate/batch", json={"readings": []}), "bad_input")


@pytest.fixture
def parks(tmp_path: Path) -> Path:
    """Write two parks; of the default one's elements exactly one is there in each month."""
    by_month = [f"{{name: {name}, months: [{month}]}}" for month, name in enumerate(elements()[:12], 1)]
    (tmp_path / "default.yaml").write_text(f"name: 기본\nelements: [{', '.join(by_month)}]\n")
    (tmp_path / "lake.yaml").write_text(
        "name: 호수공원\nelements: [벤치, 산책로, {name: 분수대, months: [5, 6, 7]}]\n"
        "sign: 41x1\ntimezone: Pacific/Kiritimati\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("day", "season", "there"),
    [
        ("2026-07-31", "여름", ["벤치", "산책로", "분수대"]),
        ("2026-08-01", "여름", ["벤치", "산책로"]),
        ("2026-02-28", "겨울", ["벤치", "산책로"]),
        ("2026-03-01", "봄", ["벤치", "산책로"]),
        ("2028-02-29", "겨울", ["벤치", "산책로"]),
        ("2026-11-30", "가을", ["벤치", "산책로"]),
    ],
)
def test_park_and_date_reach_the_prompt(day: str, season: str, there: list[str], parks: Path) -> None:
    scene = Scene.of(season, there)
    with scripted(right_answer) as model, running_gateway(model.url, parks=parks) as client:
        body = generate(client, park="lake", date=day).json()
        assert told(model) == user_text(Reading(10, 20), scene)
        assert (body["season"], body["elements"]) == (season, list(scene.elements))
        assert not check_message(body["generated_text"], Reading(10, 20), scene, Sign.parse("41x1"))


def test_without_them_it_is_the_default_park_today(parks: Path) -> None:
    today = datetime.now(ZoneInfo("Asia/Seoul")).date()
    scene = Scene(Season.of(today), (elements()[today.month - 1],))
    with scripted(right_answer) as model, running_gateway(model.url, parks=parks) as client:
        assert scene_of(generate(client).json()) == scene
        assert told(model) == user_text(Reading(10, 20), scene)
        generate(client, park=None, date=None)
        assert told(model) == user_text(Reading(10, 20), scene)
    with scripted(right_answer) as model, running_gateway(model.url, parks=parks, park="lake") as client:
        assert {"벤치", "산책로"} <= set(generate(client).json()["elements"]), "the setting says which is the default"


def test_today_is_the_parks_own(parks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def of(park: Park) -> date:
        asked.append(park.timezone)
        return date(2026, 1, 1) if park.timezone == "Asia/Seoul" else date(2026, 5, 1)

    monkeypatch.setattr("gateway.app.today_in", of)
    with scripted(right_answer) as model, running_gateway(model.url, parks=parks) as client:
        assert generate(client).json()["season"] == "겨울"
        assert generate(client, park="lake").json()["season"] == "봄"
        assert asked == ["Asia/Seoul", "Pacific/Kiritimati"]
        other = generate(client, park="lake", date="2026-01-01").json()
        assert (other["season"], other["board"]) == ("겨울", None)  # a board shows today's messages only
        assert "another date" in other["warnings"][0]


def test_an_unknown_park_never_reaches_the_model(parks: Path) -> None:
    with scripted(right_answer) as model, running_gateway(model.url, parks=parks) as client:
        assert "'hill'" in problem(generate(client, park="hill"), "bad_park")["detail"]
        assert KINDS["bad_park"][0] == 422
        batch = {"readings": [TEN_TWENTY | {"park": "hill"}, TEN_TWENTY | {"park": "lake", "board": "lake"}]}
        unknown, known = client.post("/generate/batch", json=batch).json()["results"]
        assert unknown["code"] == "bad_park"
        assert "벤치" in known["elements"]
        assert len(model.requests) == 1
        problem(client.get("/boards/main"), "not_found")


def test_the_parks_are_listed_as_the_model_is_told_of_them_today(parks: Path) -> None:
    seoul, islands = (datetime.now(ZoneInfo(zone)).date() for zone in ("Asia/Seoul", "Pacific/Kiritimati"))
    with running_gateway(NOWHERE, parks=parks, sign="24x3") as client:
        answer = client.get("/parks")
    assert answer.status_code == 200
    fountain = ["분수대"] if islands.month in (5, 6, 7) else []
    assert answer.json() == [
        {
            "park": "default",
            "name": "기본",
            "season": Season.of(seoul),
            "elements": [elements()[seoul.month - 1]],
            "sign": "24x3",
            "timezone": "Asia/Seoul",
        },
        {
            "park": "lake",
            "name": "호수공원",
            "season": Season.of(islands),
            "elements": list(Scene.of("봄", ["벤치", "산책로", *fountain]).elements),
            "sign": "41x1",
            "timezone": "Pacific/Kiritimati",
        },
    ]


def test_a_board_shows_with_its_parks_sign(parks: Path) -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url, parks=parks) as client:
        for park, board, sign in (("lake", "lake", Sign.parse("41x1")), (None, "main", DEFAULT_SIGN)):
            body = generate(client, park=park, board=board).json()
            view = client.get(f"/boards/{board}").json()
            for found in (body, view):
                assert (found["columns"], found["lines"]) == (sign.columns, sign.lines)
                assert found["pages"] == sign.pages(GOOD)
        assert client.get("/boards/nobodys?blank=true").json()["columns"] == DEFAULT_SIGN.columns


def test_a_message_must_fit_the_sign_of_its_park(parks: Path) -> None:
    (parks / "narrow.yaml").write_text("name: 좁은\nelements: [산책로]\nsign: 14x2\n")
    with scripted(saying(GOOD)) as model, running_gateway(model.url, parks=parks) as client:
        assert "width" in problem(generate(client, park="narrow"), "no_message")["detail"]
        assert generate(client, park="lake").status_code == 200


def test_what_is_not_in_the_park_is_not_shown(parks: Path) -> None:
    fountain = "기온이 어제보다 10도 올라 포근합니다. 분수대 둘레를 천천히 한 바퀴 걸어 보세요."
    with scripted(saying(fountain)) as model, running_gateway(model.url, parks=parks) as client:
        assert generate(client, park="lake", date="2026-07-01", board=None).status_code == 200
        assert "absent" in problem(generate(client, park="lake", date="2026-01-01"), "no_message")["detail"]


def test_new_words_are_rejected_or_shown_with_a_warning() -> None:
    text = GOOD.replace("들고", "들고 훨훨")
    with scripted(saying(text)) as model, running_gateway(model.url) as client:
        assert "unknown" in problem(generate(client), "no_message")["detail"]
    with scripted(saying(text), saying(GOOD)) as model, running_gateway(model.url, words="open") as client:
        body = generate(client).json()
        assert (body["generated_text"], body["board"]) == (text, "main")
        assert "훨훨" in body["warnings"][-1]
        assert generate(client).json()["warnings"] == []
        assert "signboard_unknown_words_total 1.0" in client.get("/metrics").text


def events(client: httpx.Client, until: Callable[[list[dict[str, Any]]], bool], board: str = "main") -> list[Any]:
    """Return a board's views from the event stream until a condition holds."""
    seen: list[dict[str, Any]] = []
    with client.stream("GET", f"/events?board={board}", timeout=10) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: ")))
                if until(seen):
                    break
    return seen


def test_watchers_see_messages_and_boards_going_blank() -> None:
    with scripted(right_answer) as model, running_gateway(model.url, max_age=1.5) as client:
        threading.Timer(0.5, generate, (client,)).start()
        seen = events(client, lambda views: len(views) == 3)
        assert [view["message"] and view["message"]["today_temp"] for view in seen] == [None, 20, None]
        assert seen[1]["pages"] == DEFAULT_SIGN.pages(seen[1]["message"]["generated_text"])
        assert client.get("/boards/main").json()["message"] is None
        assert client.get("/boards/main/history").json()[0]["today_temp"] == 20
        assert eventually(lambda: "signboard_watchers 0.0" in client.get("/metrics").text)


def locked(*scopes: KeyScope) -> tuple[str, str]:
    return new_key("park", list(scopes))


def test_without_a_key_only_health_and_the_kiosk_page_open() -> None:
    secret, line = locked(KeyScope.BOARD)
    with scripted(saying(GOOD)) as model, running_gateway(model.url, keys=line) as client:
        paths = set(create_app(GatewaySettings()).openapi()["paths"]) - {"/health"}
        static = {"/", "/docs", "/page/main.js", "/openapi.json", "/static-offline-docs/swagger-ui.css"}
        for path in paths | static | {"/nothing", "/v1/completions"}:
            assert client.head(path.replace("{board}", "main")).status_code == 401
            for method in ("GET", "POST", "PUT", "OPTIONS"):
                answer = client.request(method, path.replace("{board}", "main"))
                problem(answer, "no_key")
                asks = "Bearer" if path.endswith("/frames") else "Basic"  # a player has nobody to type a password
                assert asks in answer.headers["www-authenticate"]
        for path in ("/health", "/sign/main", "/sign/worker.js", "/sign/start.html"):
            assert client.get(path).status_code == 200
        wrong = {"authorization": f"Bearer {secret[:-1]}x"}
        problem(client.get("/boards/main", headers=wrong), "no_key")
        assert len(model.requests) == 1, "health alone asked the model"


def test_a_key_opens_its_scope_as_bearer_and_as_a_browsers_password() -> None:
    secret, line = locked(KeyScope.BOARD)
    basic = base64.b64encode(f"anybody:{secret}".encode()).decode()
    with scripted(saying(GOOD)) as model, running_gateway(model.url, keys=line) as client:
        for scheme in (f"Bearer {secret}", f"Basic {basic}"):
            client.headers["authorization"] = scheme
            assert generate(client).status_code == 200
            problem(client.post("/v1/chat/completions", json={}), "no_scope")
            problem(client.get("/v1/models"), "no_scope")
            assert client.get("/docs").status_code == 200
    secret, line = locked(KeyScope.OPENAI)
    with scripted(saying(GOOD)) as model, running_gateway(model.url, keys=line) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        problem(generate(client), "no_scope")
        for path in ("/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css", "/", "/metrics"):
            problem(client.get(path), "no_scope")
        assert client.post("/v1/chat/completions", json={}).status_code == 200
        assert "authorization" not in model.requests[-1].headers, "our key is not vLLM's business"


def test_rate_limit_and_body_limit_reject_requests() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url, rate_limit="5/minute", body_limit=2048) as client:
        for size in (3000, 10_000_000):
            problem(client.post("/generate/temperature", content=b" " * size), "too_large")

        def parts() -> Any:
            yield from [b" " * 1000] * 10

        headers = {"content-type": "application/json"}
        problem(client.post("/generate/temperature", content=parts(), headers=headers), "too_large")
        generate(client)
        generate(client)
        answer = generate(client)
        problem(answer, "too_many")
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert client.get("/health").status_code == 200


def test_every_answer_has_security_headers_and_a_request_id() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        for path in ("/", "/health", "/nothing", "/docs"):
            headers = client.get(path, headers={"origin": "https://evil.example"}).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'self'" in headers["content-security-policy"]
            assert headers["x-frame-options"] == "DENY"
            assert "access-control-allow-origin" not in headers
        named = client.post("/generate/temperature", json=TEN_TWENTY, headers={"x-request-id": "park-7"})
        assert named.headers["x-request-id"] == named.json()["request_id"] == "park-7"
        assert model.requests[-1].headers["x-request-id"] == "park-7"
        strange = client.get("/health", headers={"x-request-id": "a b\tc"})
        assert len(strange.headers["x-request-id"]) == 32
    with scripted(saying(GOOD)) as model, running_gateway(model.url, cors_origins="https://park.example") as client:
        headers = client.get("/health", headers={"origin": "https://park.example"}).headers
        assert headers["access-control-allow-origin"] == "https://park.example"


def test_an_internal_error_is_typed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.api.MessageOut.of", lambda *_: 1 / 0)
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        problem(generate(client), "internal")
        assert client.get("/health").status_code == 200


def test_the_docs_need_nothing_from_outside() -> None:
    with running_gateway(NOWHERE) as client:
        page = client.get("/docs").text
        assert "https://" not in page
        assert client.get("/static-offline-docs/swagger-ui.css").status_code == 200


def test_the_openai_route_forwards_bytes_and_streams() -> None:
    body = 'data: {"choices": []}\n\ndata: [DONE]\n\n'
    with (
        scripted(Reply(completion(LABELLED)), Reply(body, content_type="text/event-stream", drip=0.01)) as model,
        running_gateway(model.url) as client,
    ):
        plain = client.post("/v1/chat/completions", json={"messages": []})
        assert plain.json() == json.loads(completion(LABELLED)), "unchecked, as the docs say"
        with client.stream("POST", "/v1/chat/completions", json={"stream": True}) as stream:
            parts = list(stream.iter_text())
        assert "".join(parts) == body
        assert len(parts) > 1, "not kept back until the end"
        assert "signboard_running 0.0" in client.get("/metrics").text


def test_a_stalled_reader_holds_no_slot() -> None:
    body = "data: x\n\n" * 2_000_000
    with (
        scripted(Reply(body, content_type="text/event-stream"), right_answer) as model,
        running_gateway(model.url, deadline=1, running=2) as client,
        client.stream("POST", "/v1/chat/completions", json={"stream": True}),
    ):
        assert generate(client).status_code == 200, "the boards have a queue of their own"
        chat = {"messages": [{"content": "어제 10도, 오늘 20도"}]}
        assert eventually(lambda: client.post("/v1/chat/completions", json=chat).status_code == 200)


def test_a_slow_request_body_times_out() -> None:
    def parts() -> Any:
        for _ in range(30):
            yield b" "
            time.sleep(0.1)

    headers = {"content-type": "application/json"}
    with scripted(saying(GOOD)) as model, running_gateway(model.url, deadline=1) as client:
        problem(client.post("/generate/temperature", content=parts(), headers=headers), "too_slow")
        assert model.requests == []


def test_sdk_callers_cannot_open_the_breaker_for_the_boards() -> None:
    def answer(request: Request) -> Reply:
        return right_answer(request) if request.body.get("messages") else Reply("no", 500)

    with scripted(answer) as model, running_gateway(model.url, failures=2) as client:
        for _ in range(5):
            problem(client.post("/v1/chat/completions", json={}), "model_down")
        assert generate(client).status_code == 200


def test_a_batch_counts_each_reading_against_the_rate_limit() -> None:
    readings = {"readings": [TEN_TWENTY] * 6}
    with scripted(right_answer) as model, running_gateway(model.url, rate_limit="10/minute") as client:
        assert client.post("/generate/batch", json=readings).status_code == 200
        problem(client.post("/generate/batch", json=readings), "too_many")


def test_a_broken_stream_ends_with_a_protocol_error() -> None:
    body = "data: x\n\n" * 10
    with (
        scripted(Reply(body, content_type="text/event-stream", drop=True)) as model,
        running_gateway(model.url) as client,
        pytest.raises(httpx.RemoteProtocolError),
        client.stream("POST", "/v1/chat/completions", json={"stream": True}) as stream,
    ):
        list(stream.iter_text())


def answer_anything(request: Request) -> Reply:
    try:
        return right_answer(request)
    except (LookupError, TypeError, ValueError):
        return saying(GOOD)


def generated_requests(schema: str, secret: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Send a gateway what schemathesis makes of its API's description."""
    # Not asked: a 502 to 504 is a documented answer, and whether a temperature is possible is no matter of schema.
    excluded = "not_a_server_error,positive_data_acceptance"
    return subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", schema, *more),
            *("--header", f"Authorization: Bearer {secret}"),
            *("--checks", "all", "--exclude-checks", excluded, "--max-examples", CASES, "--seed", "1"),
            *("--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--no-color"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def test_no_generated_request_gets_an_undocumented_answer(tmp_path: Path) -> None:
    secret, line = locked(*KeyScope)
    with scripted(answer_anything) as model, running_gateway(model.url, keys=line, boards=100_000) as client:
        done = generated_requests(f"{client.base_url}/openapi.json", secret, tmp_path, "--exclude-path", "/events")
    assert done.returncode == 0, done.stdout
    assert not re.search(r'"status":500', done.stdout)
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated, done.stdout
    assert int(generated[1]) > int(CASES), "it really sent some"
