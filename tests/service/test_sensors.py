"""From the sensor to the board: a real mosquitto, a gateway, a scripted model; kills, restarts, repeats, disorder."""

import csv
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.scripted_server import GOOD, Reply, Request, eventually, right_answer, saying, scripted
from gateway.keys import KeyScope, new_key
from sensors.quality import Checked, Reason
from sensors.store import SensorStore
from tests.conftest import ROOT
from tests.service.test_gateway import generated_requests, problem
from tests.service.test_gateway_process import gateway_process
from tests.support.broker import Mosquitto, Publisher, mosquitto, publisher
from tests.support.gateway_server import running_gateway

KILLS = int(os.environ.get("SIGNBOARD_KILLS", "5"))  # of the gateway
PATIENCE = 30.0  # seconds for what happens in the background
PAYLOADS = ROOT / "tests/unit/sensors/payloads"
DEVICES = """
    - {id: lake-1, topic: lake/1}
    - {id: lake-2, topic: lake/2}
    - {id: lake-post}
    - {id: lake-ktx, adapter: onem2m, field: Temperature, unit: °C}
"""


def write_park(folder: Path, devices: str = DEVICES) -> Path:
    """Write a park where it is about noon now, so that no test meets a midnight; return the folder."""
    parks = folder / "parks"
    parks.mkdir(exist_ok=True)
    offset = (datetime.now(UTC).hour - 12) % 24
    zone = f"Etc/GMT{offset:+d}" if offset <= 12 else f"Etc/GMT-{24 - offset}"
    (parks / "lake.yaml").write_text(
        f"name: 호수공원\ntimezone: {zone}\nelements: [벤치, 산책로]\nsensors:\n  devices:{devices}", encoding="utf-8"
    )
    return parks


@contextmanager
def gateway_on_a_broker(
    folder: Path, answer: Reply | Callable[[Request], Reply], devices: str = DEVICES, **more: Any
) -> Iterator[tuple[Mosquitto, httpx.Client, Publisher]]:
    """Run a broker, a scripted model and a gateway on both; yield broker, client and a sensor."""
    with (
        mosquitto(folder / "broker") as broker,
        scripted(answer) as model,
        running_gateway(model.url, **settings(folder, devices, broker=broker.url, **more)) as client,
        publisher(broker) as sensor,
    ):
        yield broker, client, sensor


def settings(folder: Path, devices: str = DEVICES, **more: Any) -> dict[str, Any]:
    return {
        "parks": write_park(folder, devices),
        "park": "lake",
        "database": f"sqlite:///{folder / 'signboard.db'}",
        "look_seconds": 0.2,
        "message_gap": 0,
    } | more


def payload(value: float, measured: datetime) -> bytes:
    return json.dumps({"value": value, "unit": "°C", "measured_at": measured.isoformat()}).encode()


def course(yesterday: float, today: float) -> list[bytes]:
    """Return what a sensor measures around this time yesterday and until now, every five minutes."""
    now = datetime.now(UTC)
    return [
        payload(round(value + 0.1 * (number % 2), 1), now - day - number * timedelta(minutes=5))
        for day, value in ((timedelta(days=1), yesterday), (timedelta(0), today))
        for number in range(6, -1, -1)
    ]


def shown(client: httpx.Client, board: str = "lake") -> tuple[int, int] | None:
    view = client.get(f"/boards/{board}?blank=true").json()
    return (view["message"]["yesterday_temp"], view["message"]["today_temp"]) if view["message"] else None


def kept(folder: Path, sensor: str = "lake-1") -> list[Checked]:
    now = datetime.now(UTC)
    with SensorStore.open(f"sqlite:///{folder / 'signboard.db'}") as store:
        return store.between(sensor, now - timedelta(days=3), now + timedelta(days=3))


def connected(client: httpx.Client) -> bool:
    return eventually(lambda: "signboard_broker_connected 1.0" in client.get("/metrics").text, PATIENCE)


def environment(options: dict[str, Any]) -> dict[str, str]:
    return {f"SIGNBOARD_GATEWAY_{name.upper()}": str(value) for name, value in options.items()}


def test_a_sensor_publishes_and_the_board_follows(tmp_path: Path) -> None:
    with gateway_on_a_broker(tmp_path, right_answer) as (_, client, sensor):
        for one in course(10, 16):
            sensor.send("lake/1", one)
        sensor.send("lake/1", payload(85.0, datetime.now(UTC)))
        assert eventually(lambda: shown(client) == (10, 16), PATIENCE), client.get("/sensors/lake-1").text
        assert client.get("/boards/lake").json()["no_reading"] is None
        state = client.get("/sensors/lake-1").json()
        assert state["latest"]["value"] == 85.0
        assert (state["latest"]["flag"], state["latest"]["reasons"]) == ("bad", ["fault_value"])
        assert state["flags"] == {"good": 14, "bad": 1}
        assert {one["today_temp"] for one in client.get("/boards/lake/history").json()} == {16}
        metrics = client.get("/metrics").text
        assert 'signboard_observations_total{flag="bad",sensor="lake-1"} 1.0' in metrics
        assert "signboard_measured_to_shown_seconds_count 1.0" in metrics


def test_a_new_observation_wakes_the_follower(tmp_path: Path) -> None:
    with gateway_on_a_broker(tmp_path, right_answer, look_seconds=3600) as (_, client, sensor):
        assert connected(client)
        for one in course(10, 16):
            sensor.send("lake/1", one)
        assert eventually(lambda: shown(client) == (10, 16), PATIENCE)


def test_without_yesterday_the_board_says_so_and_asks_no_model(tmp_path: Path) -> None:
    with (
        scripted(right_answer) as model,
        running_gateway(model.url, **settings(tmp_path)) as client,
    ):
        assert eventually(lambda: client.get("/boards/lake?blank=true").json()["no_reading"] == "no_current")
        now = datetime.now(UTC)
        assert client.post("/sensors/lake-post/readings", json=json.loads(payload(16.0, now))).status_code == 200
        assert eventually(lambda: client.get("/boards/lake?blank=true").json()["no_reading"] == "no_yesterday")
        assert shown(client) is None
        assert model.requests == []


def test_a_new_message_comes_when_the_reading_changes_and_not_before_the_gap_is_over(tmp_path: Path) -> None:
    with (
        scripted(right_answer) as model,
        running_gateway(model.url, **settings(tmp_path, message_gap=3)) as client,
    ):
        bodies = [json.loads(one) for one in course(10, 16)]
        assert client.post("/sensors/lake-post/readings", json=bodies).status_code == 200
        assert eventually(lambda: shown(client) == (10, 16), PATIENCE)
        first = time.monotonic()
        time.sleep(1)
        assert len(model.requests) == 1, "the reading is the same: nothing is asked for"
        now = datetime.now(UTC)
        warmer = [json.loads(payload(18.0, now + timedelta(seconds=30 * number))) for number in range(5)]
        client.post("/sensors/lake-post/readings", json=warmer)
        assert eventually(lambda: shown(client) == (10, 18), PATIENCE)
        assert time.monotonic() - first > 1.9
        assert len(model.requests) == 2


def test_an_old_message_is_written_anew(tmp_path: Path) -> None:
    with (
        scripted(right_answer) as model,
        running_gateway(model.url, **settings(tmp_path, renew_seconds=1)) as client,
    ):
        client.post("/sensors/lake-post/readings", json=[json.loads(one) for one in course(10, 16)])
        assert eventually(lambda: len(client.get("/boards/lake/history").json()) >= 3, PATIENCE)


def test_a_model_that_was_down_costs_only_the_time(tmp_path: Path) -> None:
    down = threading.Event()
    down.set()

    def answer(request: Any) -> Reply:
        return Reply("down", 500) if down.is_set() else right_answer(request)

    with (
        scripted(answer) as model,
        running_gateway(model.url, **settings(tmp_path, failures=2)) as client,
    ):
        client.post("/sensors/lake-post/readings", json=[json.loads(one) for one in course(10, 16)])
        assert eventually(lambda: "signboard_breaker_open 1.0" in client.get("/metrics").text, PATIENCE)
        assert client.post("/sensors/lake-post/readings", json=json.loads(course(10, 16)[0])).status_code == 200
        assert shown(client) is None
        down.clear()
        assert eventually(lambda: shown(client) == (10, 16), PATIENCE)


def test_a_broker_that_is_restarted_while_it_delivers_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with gateway_on_a_broker(tmp_path, saying(GOOD)) as (broker, client, sensor):
        assert connected(client)
        for number, body in enumerate(steady(300)):
            sensor.send("lake/1", body)
            if number in (100, 200):
                broker.stop()
                broker.start()
        sensor.flush()
        assert_kept_once(300, tmp_path)


def test_a_broker_that_is_killed_delivers_what_we_had_not_acknowledged(tmp_path: Path) -> None:
    """We acknowledge nothing while our store is locked, and mosquitto is set to save after every change."""
    with gateway_on_a_broker(tmp_path, saying(GOOD)) as (broker, client, sensor):
        assert connected(client)
        bodies = steady(300)
        for first in (0, 100, 200):
            with locked(tmp_path / "signboard.db"):
                for body in bodies[first : first + 100]:
                    sensor.send("lake/1", body)
                sensor.flush()
                time.sleep(1)
                broker.stop(signal.SIGKILL)
            broker.start()
        assert_kept_once(300, tmp_path)


def steady(count: int) -> list[bytes]:
    start = datetime.now(UTC) - timedelta(hours=30)
    return [payload(10 + 0.1 * (number % 3), start + number * timedelta(minutes=5)) for number in range(count)]


def assert_kept_once(count: int, folder: Path) -> None:
    assert eventually(lambda: len(kept(folder)) >= count, PATIENCE)
    times = [one.observation.measured_at for one in kept(folder)]
    assert len(times) == len(set(times)) == count


def test_what_was_published_while_the_gateway_was_away_is_there_afterwards(tmp_path: Path) -> None:
    options = settings(tmp_path)
    with mosquitto(tmp_path / "broker") as broker, scripted(right_answer) as model, publisher(broker) as sensor:
        options["broker"] = broker.url
        with running_gateway(model.url, **options) as client:
            assert connected(client)
        for one in course(10, 16):
            sensor.send("lake/1", one)
        sensor.flush()
        with running_gateway(model.url, **options) as client:
            assert eventually(lambda: shown(client) == (10, 16), PATIENCE)


def test_a_gateway_that_is_killed_while_it_writes_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rounds, each = KILLS, 60
    start, apart = datetime.now(UTC) - timedelta(hours=40), timedelta(hours=38) / (rounds * each)
    acknowledged: list[str] = []

    def post(url: str, numbers: range) -> None:
        with httpx.Client(base_url=url, trust_env=False) as caller:
            for number in numbers:
                body = json.loads(payload(10 + 0.1 * (number % 3), start + number * apart))
                try:
                    if caller.post("/sensors/lake-post/readings", json=body).status_code == 200:
                        acknowledged.append(body["measured_at"])
                except httpx.HTTPError:
                    return

    with mosquitto(tmp_path / "broker") as broker, scripted(saying(GOOD)) as model, publisher(broker) as sensor:
        variables = environment(settings(tmp_path, broker=broker.url))
        with (
            gateway_process(model.url, tmp_path / "log", **variables) as (_, url),
            httpx.Client(base_url=url, trust_env=False) as client,
        ):
            assert connected(client)  # so that the broker knows the session
        for turn in range(rounds):
            with gateway_process(model.url, tmp_path / "log", **variables) as (process, url):
                caller = threading.Thread(target=post, args=(url, range(turn * each, (turn + 1) * each)))
                caller.start()
                for number in range(turn * each, (turn + 1) * each):
                    sensor.send("lake/1", payload(10 + 0.1 * (number % 3), start + number * apart))
                time.sleep(random.Random(turn).uniform(0.02, 0.3))
                process.kill()
                process.wait()
                caller.join()
        sensor.flush()
        with gateway_process(model.url, tmp_path / "log", **variables):
            assert eventually(lambda: len(kept(tmp_path)) >= rounds * each, PATIENCE)
    over_mqtt = [one.observation.measured_at for one in kept(tmp_path)]
    assert len(over_mqtt) == len(set(over_mqtt)) == rounds * each, "0 lost, 0 doubled"
    posted = [one.observation.measured_at.isoformat() for one in kept(tmp_path, "lake-post")]
    assert len(posted) == len(set(posted))
    assert 0 < len(acknowledged) < rounds * each, "the kills came while it wrote"
    assert set(acknowledged) <= set(posted)


def test_duplicates_and_disorder_change_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    now = datetime.now(UTC)
    series = [
        payload(round(10 + 0.02 * n + 0.1 * (n % 2), 1), now - (300 - n) * timedelta(minutes=5)) for n in range(301)
    ]
    sent = list(series)
    for number in range(0, 300, 10):
        sent[number], sent[number + 1] = sent[number + 1], sent[number]
    sent = [one for body in sent for one in [body] * (2 if chance.random() < 0.1 else 1)]
    with gateway_on_a_broker(tmp_path, right_answer) as (_, client, sensor):
        for body in sent:
            sensor.send("lake/1", body)
        for body in series:
            sensor.send("lake/2", body)
        sensor.flush()
        assert eventually(lambda: len(kept(tmp_path)) >= 301 and len(kept(tmp_path, "lake-2")) >= 301, PATIENCE)
        assert eventually(lambda: shown(client) is not None, PATIENCE)
    disordered, plain = ([one.observation.value for one in kept(tmp_path, name)] for name in ("lake-1", "lake-2"))
    assert disordered == plain


def test_a_retained_value_without_a_time_is_never_taken_for_now(tmp_path: Path) -> None:
    devices = "\n    - {id: lake-1, adapter: home_assistant, topic: home/t, unit: °C}\n"
    with mosquitto(tmp_path / "broker") as broker, scripted(saying(GOOD)) as model, publisher(broker) as sensor:
        sensor.send("home/t", b"21.4", retain=True)
        sensor.flush()
        with running_gateway(model.url, **settings(tmp_path, devices, broker=broker.url)) as client:
            assert eventually(lambda: client.get("/sensors/lake-1").json()["rejects"] == {"retained": 1}, PATIENCE)
            sensor.send("home/t", b"21.5")
            assert eventually(lambda: (client.get("/sensors/lake-1").json()["latest"] or {}).get("value") == 21.5)


def test_values_without_a_time_that_waited_at_the_broker_are_not_compared(tmp_path: Path) -> None:
    """Queued while the gateway was away: kept, and doubtful. Delivered a second time: rejected, its time is unknown."""
    devices = "\n    - {id: lake-1, adapter: home_assistant, topic: home/t, unit: °C}\n"
    with mosquitto(tmp_path / "broker") as broker, scripted(saying(GOOD)) as model, publisher(broker) as sensor:
        options = settings(tmp_path, devices, broker=broker.url)
        with running_gateway(model.url, **options) as client:
            assert connected(client)
        sensor.send("home/t", b"21.4")
        sensor.flush()
        heard_and_not_acknowledged(broker)
        for value in (b"21.5", b"21.6"):
            sensor.send("home/t", value)
        sensor.flush()
        with running_gateway(model.url, **options) as client:
            assert eventually(lambda: client.get("/sensors/lake-1").json()["flags"] == {"doubtful": 2}, PATIENCE)
            assert client.get("/sensors/lake-1").json()["rejects"] == {"retained": 1}
    assert [one.reasons for one in kept(tmp_path)] == [(Reason.QUEUED,)] * 2


def heard_and_not_acknowledged(broker: Mosquitto) -> None:
    """Receive a message in the gateway's session and lose the connection before it is acknowledged."""
    heard = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, "signboard", clean_session=False, manual_ack=True)
    client.on_message = lambda *_: heard.set()
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    assert heard.wait(PATIENCE)
    client.disconnect()
    client.loop_stop()


def test_a_onem2m_notification_over_mqtt_is_acknowledged_after_it_is_kept(tmp_path: Path) -> None:
    devices = "\n    - {id: lake-1, adapter: onem2m, topic: /oneM2M/req/Mobius2/Ssignboard/json, field: t, unit: °C}\n"
    created = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    cin = {"ty": 4, "ri": "4-1", "ct": created, "con": {"t": "7.5"}}
    body = {"op": 5, "rqi": "r-1", "fr": "/Mobius2", "pc": {"m2m:sgn": {"nev": {"net": 3, "rep": {"m2m:cin": cin}}}}}
    answers: list[dict[str, Any]] = []

    def answered(_client: Client, _data: Any, message: MQTTMessage) -> None:
        assert len(kept(tmp_path)) == 1
        answers.append(json.loads(message.payload))

    with gateway_on_a_broker(tmp_path, saying(GOOD), devices) as (_, client, platform):
        assert connected(client)
        platform.client.on_message = answered
        platform.client.subscribe("/oneM2M/resp/#", 1)
        platform.send("/oneM2M/req/Mobius2/Ssignboard/json", json.dumps(body).encode())
        assert eventually(lambda: bool(answers), PATIENCE)
    assert (answers[0]["rsc"], answers[0]["rqi"]) == (2000, "r-1")


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_tls_and_a_password_are_used(tmp_path: Path) -> None:
    def openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)  # noqa: S607

    key, certificate, words = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "words"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-keyout", key, "-out", certificate, *subject)
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(words), "park", "secret"], check=True)  # noqa: S607
    more = f"allow_anonymous false\npassword_file {words}\ncafile {certificate}\ncertfile {certificate}\nkeyfile {key}"
    with mosquitto_tls(tmp_path, more) as port, scripted(saying(GOOD)) as model:
        options = settings(tmp_path, broker=f"mqtts://localhost:{port}", broker_user="park")
        trusted: dict[str, Any] = {"broker_ca": certificate, "broker_password": "secret"}
        with running_gateway(model.url, **options, **trusted) as client:
            assert connected(client)
        for wrong in ({"broker_password": "secret"}, trusted | {"broker_password": "wrong"}):
            with running_gateway(model.url, **options, **wrong) as client:
                time.sleep(1.5)
                assert "signboard_broker_connected 0.0" in client.get("/metrics").text
                assert client.get("/sensors").status_code == 200, "the gateway works without its broker"


@contextmanager
def mosquitto_tls(folder: Path, more: str) -> Iterator[int]:
    with mosquitto(folder / "broker", more) as broker:
        yield broker.port


# HTTP

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold a database's write lock in another process."""
    command = [sys.executable, "-c", LOCK, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield
        process.communicate(b"\n")


@contextmanager
def posting(folder: Path, **more: Any) -> Iterator[httpx.Client]:
    with scripted(right_answer) as model, running_gateway(model.url, **settings(folder, **more)) as client:
        yield client


def test_readings_are_posted_one_or_many_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    address, now = "/sensors/lake-post/readings", datetime.now(UTC)
    one = json.loads(payload(21.4, now))
    with posting(tmp_path) as client:
        body = client.post(address, json=one).json()
        assert [stored["value"] for stored in body["stored"]] == [21.4]
        assert client.post(address, json=one).json() == {"stored": [], "repeated": 1, "rejected": []}
        warm = {"value": 70.7, "unit": "°F", "measured_at": (now - timedelta(minutes=5)).isoformat()}
        body = client.post(address, json=[warm, {**one, "value": None}, {**one, "unit": "°"}]).json()
        assert [stored["value"] for stored in body["stored"]] == [21.5]
        assert [rejected["reason"] for rejected in body["rejected"]] == ["null", "unit_unknown"]
        for wrong in (b"{", b'{"value": "21.4", "unit": "C"}', b'{"value": 1}', b"\xff", b"[" * 5000):
            answer = client.post(address, content=wrong, headers={"content-type": "application/json"})
            problem(answer, "bad_observation")
        problem(client.post(address, content=json.dumps(one), headers={"content-type": "text/plain"}), "bad_input")
        problem(client.post("/sensors/lake-9/readings", json=one), "not_found")
        problem(client.post("/sensors/lake-1/readings", json=one), "bad_input")
        problem(client.post("/sensors/lake-ktx/readings", json=one), "bad_input")


def test_onem2m_over_http_is_verified_kept_and_acknowledged(tmp_path: Path) -> None:
    address = "/sensors/lake-ktx/onem2m"
    with posting(tmp_path) as client:
        check = {"m2m:sgn": {"vrq": True, "sur": "Mobius/ae/cnt/sub"}}
        answer = client.post(address, json=check, headers={"x-m2m-ri": "r-7"})
        assert (answer.status_code, answer.headers["x-m2m-rsc"], answer.headers["x-m2m-ri"]) == (200, "2000", "r-7")
        cin = {"ty": 4, "ri": "4-2", "ct": datetime.now(UTC).strftime("%Y%m%dT%H%M%S"), "con": {"Temperature": 7.36}}
        told = {"m2m:sgn": {"sur": "Mobius/ae/cnt/sub", "nev": {"net": 3, "rep": {"m2m:cin": cin}}}}
        headers = {"content-type": "application/vnd.onem2m-ntfy+json; ty=4"}
        assert client.post(address, content=json.dumps(told), headers=headers).headers["x-m2m-rsc"] == "2000"
        assert client.get("/sensors/lake-ktx").json()["latest"]["value"] == 7.36
        broken = client.post(address, content=b"{}", headers=headers)
        problem(broken, "bad_observation")
        assert broken.headers["x-m2m-rsc"] == "4000"


def test_observations_are_read_as_json_and_as_a_table(tmp_path: Path) -> None:
    with posting(tmp_path) as client:
        client.post("/sensors/lake-post/readings", json=[json.loads(one) for one in course(10, 16)])
        address = "/sensors/lake-post/observations"
        rows = client.get(address).json()
        assert len(rows) == 14
        assert rows == sorted(rows, key=lambda row: row["measured_at"])
        in_header = client.get(address, headers={"accept": "text/csv"})
        for answer in (client.get(address, params={"format": "csv"}), in_header):
            assert answer.headers["content-type"].startswith("text/csv")
            table = list(csv.DictReader(io.StringIO(answer.text)))
            assert [float(row["value"]) for row in table] == [row["value"] for row in rows]
            assert {row["sensor"] for row in table} == {"lake-post"}
        today = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
        assert len(client.get(address, params={"from": today}).json()) == 7
        assert len(client.get(address, params={"to": today}).json()) == 7
        for wrong in (
            {"from": "2020-01-01T00:00:00Z"},
            {"from": "2999-01-01T00:00:00Z"},
            {"from": "now"},
            {"since": "1"},
        ):
            problem(client.get(address, params=wrong), "bad_input")
        problem(client.get(address, params={"to": "0001-01-01T00:00:00Z"}), "bad_input")
        assert {one["sensor"] for one in client.get("/sensors").json()} == {"lake-1", "lake-2", "lake-post", "lake-ktx"}
        problem(client.get("/sensors/lake-9"), "not_found")


def test_no_generated_request_about_a_sensor_gets_an_undocumented_answer(tmp_path: Path) -> None:
    secret, line = new_key("park", list(KeyScope))
    with posting(tmp_path, keys=line, look_seconds=60) as client:
        schema = client.get("/openapi.json", headers={"authorization": f"Bearer {secret}"}).json()
        paths = {}  # with ids that exist: a generated one would never be found
        for path, routes in schema["paths"].items():
            if path.startswith("/sensors"):
                for route in routes.values():
                    route["parameters"] = [one for one in route.get("parameters", []) if one["in"] == "query"]
                paths[path.replace("{sensor}", "lake-ktx" if "onem2m" in path else "lake-post")] = routes
        (tmp_path / "schema.json").write_text(json.dumps(schema | {"paths": paths}))
        done = generated_requests("schema.json", secret, tmp_path, "--url", str(client.base_url))
    assert len(paths) == 5
    assert done.returncode == 0, done.stdout
    assert not re.search(r'"status":500', done.stdout)


def test_a_sensors_key_brings_readings_and_opens_nothing_else(tmp_path: Path) -> None:
    secret, line = new_key("lake", [KeyScope.SENSORS])
    other, other_line = new_key("office", [KeyScope.BOARD])
    one = json.loads(payload(21.4, datetime.now(UTC)))
    with posting(tmp_path, keys=f"{line} {other_line}") as client:
        bring, look = ({"authorization": f"Bearer {key}"} for key in (secret, other))
        assert client.post("/sensors/lake-post/readings", json=one, headers=bring).status_code == 200
        problem(client.post("/sensors/lake-post/readings", json=one, headers=look), "no_scope")
        problem(client.post("/sensors/lake-ktx/onem2m", json=one, headers=look), "no_scope")
        problem(client.post("/sensors/lake-post/readings", json=one), "no_key")
        for address in ("/sensors", "/sensors/lake-post", "/sensors/lake-post/observations"):
            problem(client.get(address, headers=bring), "no_scope")
            assert client.get(address, headers=look).status_code == 200


def test_a_locked_store_is_a_typed_error_and_stops_no_board(tmp_path: Path) -> None:
    with posting(tmp_path) as client:
        one = json.loads(payload(21.4, datetime.now(UTC)))
        with locked(tmp_path / "signboard.db"), ThreadPoolExecutor(1) as pool:
            waits = pool.submit(client.post, "/sensors/lake-post/readings", json=one)
            for address in ("/sensors", "/metrics", "/boards/lake?blank=true") * 5:
                assert client.get(address).elapsed < timedelta(seconds=2), "the event loop waits for no disk"
            assert not waits.done()
            problem(waits.result(), "store_down")
        assert client.post("/sensors/lake-post/readings", json=one).json()["repeated"] == 0
    assert len(kept(tmp_path, "lake-post")) == 1


def test_a_gateway_without_sensors_has_none() -> None:
    with scripted(saying(GOOD)) as model, running_gateway(model.url) as client:
        assert client.get("/sensors").json() == []
        problem(client.get("/sensors/lake-1"), "not_found")
