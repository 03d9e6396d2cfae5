"""The administrator's routes over real HTTP: who may, what it changes on boards and a simulated sign, its log."""

import base64
import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from benchmarks.scripted_server import GOOD, Reply, eventually, right_answer, saying, scripted
from core.prompt import prompt_name
from gateway.keys import KeyScope, new_key
from tests.service.test_gateway import TEN_TWENTY, generate, problem
from tests.service.test_sensors import PATIENCE, course, payload
from tests.service.test_sensors import settings as sensor_settings
from tests.service.test_signs import settings as sign_settings
from tests.support.gateway_server import running_gateway
from tests.support.sign import simulated_sign

MODELS = json.dumps({"data": [{"id": prompt_name(), "root": "/srv/signboard/runs/nano/awq"}]})
JSON = {"content-type": "application/json"}
ACTIONS = (
    "/admin/boards/main/blank",
    "/admin/boards/main/unblank",
    "/admin/boards/main/message",
    "/admin/signs/gate/blank",
    "/admin/signs/gate/unblank",
)


def blanked(client: httpx.Client, board: str = "main") -> bool:
    return client.get(f"/boards/{board}").json()["blanked_until"] is not None


def test_only_an_admins_key_opens_anything() -> None:
    secret, line = new_key("night-shift", [KeyScope.ADMIN])
    office, office_line = new_key("office", [scope for scope in KeyScope if scope is not KeyScope.ADMIN])
    with scripted(right_answer) as model, running_gateway(model.url, keys=f"{line} {office_line}") as client:
        client.headers["authorization"] = f"Bearer {office}"
        generate(client)
        for path in ("/admin", "/admin/overview", "/admin/page/admin.js"):
            problem(client.get(path), "no_scope")
        for path in ACTIONS:
            problem(client.post(path, json={}), "no_scope")
        assert not blanked(client)
        basic = base64.b64encode(f"any:{office}".encode()).decode()
        for path in ("/admin", "/admin/overview"):  # a browser must be able to ask for another key
            answer = client.get(path, headers={"authorization": f"Basic {basic}"})
            problem(answer, "no_key")
            assert 'realm="Signboard administration"' in answer.headers["www-authenticate"]
        admin = {"authorization": f"Bearer {secret}"}
        for name in ("admin.js", "admin.css", "style.css", "common.js", "texts.js"):
            assert client.get(f"/admin/page/{name}", headers=admin).status_code == 200
        problem(client.get("/admin/page/main.js", headers=admin), "not_found")
        problem(client.get("/boards/main", headers=admin), "no_scope")
        answer = client.get("/admin/overview", headers=admin)
        keys = {key["name"]: key for key in answer.json()["keys"]}
        assert keys["night-shift"]["scopes"] == ["admin"]
        assert keys["night-shift"]["last_used"]
        for known in (secret, office, *(one.split(":")[2] for one in (line, office_line))):
            assert known not in answer.text
            assert known[:9] not in answer.text, "eight digits at most"


def test_the_overview_says_what_is_there_and_that_all_is_well(tmp_path: Path) -> None:
    devices = "\n    - {id: lake-post}\n"
    with scripted(right_answer) as model, running_gateway(model.url, **sensor_settings(tmp_path, devices)) as client:
        model.models = MODELS
        body = b"[" + b",".join([*course(10, 16), payload(85.0, datetime.now(UTC))]) + b"]"
        assert client.post("/sensors/lake-post/readings", content=body, headers=JSON).status_code == 200
        generate(client)
        assert eventually(lambda: client.get("/admin/overview").json()["faults"] == [], PATIENCE)
        told = client.get("/admin/overview").json()
        boards = {board["board"]: board for board in told["boards"]}
        assert (boards["lake"]["follows_sensors"], boards["lake"]["parks"]) == (True, ["lake"])
        assert boards["lake"]["readings"] == [10, 16]
        assert (boards["main"]["follows_sensors"], boards["main"]["readings"]) == (False, [10, 20])
        (sensor,) = told["sensors"]
        assert sensor["latest"]["reasons"] == ["fault_value"]
        assert sensor["unused_today"] == pytest.approx(1 / 8), "seven good ones of today, and one that is not"
        (park,) = told["parks"]
        assert (park["board"], park["sensors"], park["signs"], park["changed"]) == ("lake", 1, [], False)
        assert told["versions"]["checkpoint"] == "nano/awq"
        assert told["versions"]["database_schema"]
        assert told["keys"] == []


def test_a_blanked_board_is_dark_until_its_time_is_over_or_somebody_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "signboard.gateway")
    secret, line = new_key("night-shift", [KeyScope.ADMIN, KeyScope.BOARD])
    with scripted(saying(GOOD)) as model, running_gateway(model.url, keys=line) as client:
        client.headers["authorization"] = f"Bearer {secret}"
        generate(client)
        answer = client.post("/admin/boards/main/blank", json={"minutes": 30}, headers={"x-request-id": "call-7"})
        assert answer.status_code == 200
        assert answer.json()["message"] is None
        view = client.get("/boards/main").json()
        assert (view["message"], view["pages"], view["blanked_until"]) == (None, [], answer.json()["blanked_until"])
        again = generate(client).json()
        assert (again["board"], "administrator" in again["warnings"][0]) == (None, True)
        (board,) = client.get("/admin/overview").json()["boards"]
        assert board["why_blank"] == "blanked"
        client.post("/admin/boards/main/unblank", json={})
        assert generate(client).json()["board"] == "main"
        problem(client.post("/admin/boards/main/message", json={}), "no_reading")
        problem(client.post("/admin/boards/nowhere/blank", json={}), "not_found")
        for wrong in ({"minutes": 0}, {"minutes": 1441}, {"minutes": 1.5}, {"hours": 1}):
            problem(client.post("/admin/boards/main/blank", json=wrong), "bad_input")
    logged = [vars(record) for record in caplog.records if record.getMessage() == "admin action"]
    assert [(one["key"], one["action"], one["subject"]) for one in logged] == [
        ("night-shift", "board blanked", "main"),
        ("night-shift", "board unblanked", "main"),
    ]
    assert logged[0]["request_id"] == "call-7"


def test_another_sites_page_can_do_nothing() -> None:
    with (
        scripted(saying(GOOD)) as model,
        running_gateway(model.url, cors_origins="https://park.example") as client,
    ):
        generate(client)
        for path in ACTIONS[:3]:
            for kind in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
                problem(client.post(path, content="{}", headers=kind), "bad_input")
            for site in ("cross-site", "same-site"):  # even one that may use the API
                problem(client.post(path, json={}, headers={"sec-fetch-site": site}), "no_scope")
        assert not blanked(client)
        client.post(ACTIONS[0], json={}, headers={"sec-fetch-site": "same-origin"})
        assert blanked(client)


def test_a_blanked_sign_is_dark_while_its_board_goes_on(tmp_path: Path) -> None:
    with (
        simulated_sign() as sign,
        scripted(saying(GOOD)) as model,
        running_gateway(model.url, **sign_settings(tmp_path, sign.tcp.url)) as client,
    ):
        client.post("/generate/temperature", json=TEN_TWENTY | {"board": "lake", "park": "lake"})
        assert eventually(lambda: sign.shows != "", PATIENCE)
        assert client.post("/admin/signs/gate/blank", json={}).json()["blanked_until"]
        assert eventually(lambda: sign.shows == "", PATIENCE)
        assert client.get("/boards/lake").json()["message"]
        assert client.get("/admin/overview").json()["signs"][0]["blanked_until"]
        client.post("/admin/signs/gate/unblank", json={})
        assert eventually(lambda: sign.shows != "", PATIENCE)
        client.post("/admin/boards/lake/blank", json={})
        assert eventually(lambda: sign.shows == "", PATIENCE), "a board's blanking reaches its signs"
        problem(client.post("/admin/signs/nothing/blank", json={}), "not_found")


def test_a_new_message_is_written_for_what_the_sensors_say_now(tmp_path: Path) -> None:
    devices = "\n    - {id: lake-post}\n"
    more = {"message_gap": 3600, "renew_seconds": 3600}
    with (
        scripted(right_answer) as model,
        running_gateway(model.url, **sensor_settings(tmp_path, devices, **more)) as client,
    ):
        problem(client.post("/admin/boards/lake/message", json={}), "no_reading")
        body = b"[" + b",".join(course(10, 16)) + b"]"
        client.post("/sensors/lake-post/readings", content=body, headers=JSON)
        assert eventually(lambda: client.get("/boards/lake?blank=true").json()["message"] is not None, PATIENCE)
        first = client.get("/boards/lake").json()["message"]
        client.post("/admin/boards/lake/blank", json={})
        answer = client.post("/admin/boards/lake/message", json={})
        assert answer.status_code == 200
        assert answer.json()["blanked_until"] is None
        assert answer.json()["message"]["written_at"] > first["written_at"]


def test_what_is_wrong_is_told_with_its_beginning_its_meaning_and_what_to_do(tmp_path: Path) -> None:
    devices = "\n    - {id: lake-post}\n"
    with (
        scripted(Reply("no", 500)) as model,
        running_gateway(model.url, **sensor_settings(tmp_path, devices)) as client,
    ):
        begin = datetime.now(UTC)
        told = client.get("/admin/overview").json()
        found = {fault["code"]: fault for fault in told["faults"]}
        assert next(iter(found)) == "ModelDown"
        assert {"ModelDown", "BoardBlank", "SensorSilent"} <= set(found)
        down = found["ModelDown"]
        assert (down["urgent"], down["docs"]) == (True, "docs/runbook.md#modeldown")
        assert "journalctl" in down["todo"]["en"]
        assert "journalctl" in down["todo"]["ko"]
        assert found["BoardBlank"]["subject"] == "lake"
        again = {fault["code"]: fault for fault in client.get("/admin/overview").json()["faults"]}
        assert again["ModelDown"]["since"] == down["since"]
        assert datetime.fromisoformat(down["since"]) >= begin
