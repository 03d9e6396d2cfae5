"""The sensors' command line against a real broker, a real gateway and a real store, as an operator types it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from benchmarks.scripted_server import eventually
from sensors.days import Comparison
from sensors.mqtt import Broker, Subscriber
from sensors.park_sensors import ParkSensors, read_park_sensors
from sensors.quality import Flag
from sensors.shapes import SHAPES
from sensors.simulate import made_up_settings
from sensors.station import Station
from sensors.store import SensorStore
from tests.conftest import ROOT, run_room
from tests.support.broker import Mosquitto, mosquitto
from tests.support.gateway_server import running_gateway

NOBODY = "http://127.0.0.1:1/v1"  # the model is not there, and nothing here needs it


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path / "broker") as running:
        yield running


def write_park(folder: Path, adapter: str, number: int = 3) -> ParkSensors:
    folder.mkdir(exist_ok=True)
    path = folder / "default.yaml"
    park = {"name": "공원", "elements": ["벤치"], "sensors": {"devices": made_up_settings(adapter, number, 1)}}
    path.write_text(yaml.safe_dump(park, allow_unicode=True), encoding="utf-8")
    found = read_park_sensors(path, "Asia/Seoul")
    assert found is not None
    return found


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_room("sensors", "simulate", *arguments)


@pytest.mark.parametrize("adapter", [name for name, shape in SHAPES.items() if shape.topic])
def test_what_is_simulated_arrives_in_the_store_and_can_be_compared(
    adapter: str, broker: Mosquitto, tmp_path: Path
) -> None:
    park = write_park(tmp_path / "parks", adapter)
    with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as store:
        station = Station({"default": park}, store)
        with Subscriber(Broker.at(broker.url), station) as subscriber:
            assert eventually(lambda: subscriber.connected)
            done = simulate(
                "default", f"--parks={tmp_path / 'parks'}", f"--broker={broker.url}", "--history=26h", "--duration=3s"
            )
            assert done.returncode == 0, done.stderr
            live, past = 4, 0 if adapter == "home_assistant" else 26 * 12
            counts = dict.fromkeys(station.sensors, live + past)
            assert "sent: " + ", ".join(f"{name} {number}" for name, number in counts.items()) in done.stdout
            now = datetime.now(UTC)
            since = now - timedelta(hours=27)
            assert eventually(lambda: {name: len(store.between(name, since, now)) for name in counts} == counts, 20)
        every = [one for name in counts for one in store.between(name, since, now)]
        if past:  # without a time of their own, the first values may have waited somewhere
            assert sum(one.flag is Flag.GOOD for one in every) > 0.97 * len(every)
            assert isinstance(station.reading("default", now), Comparison)


def test_a_fault_on_demand_is_flagged_on_the_other_side(broker: Mosquitto, tmp_path: Path) -> None:
    park = write_park(tmp_path / "parks", "zigbee2mqtt")
    with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as store:
        station = Station({"default": park}, store)
        with Subscriber(Broker.at(broker.url), station) as subscriber:
            assert eventually(lambda: subscriber.connected)
            parks, url = f"--parks={tmp_path / 'parks'}", f"--broker={broker.url}"
            done = simulate("default", parks, url, "--history=1h", "--duration=3s", "--fault=sim-2=-127@now")
            assert done.returncode == 0, done.stderr
            assert eventually(lambda: station.state("sim-2").flags.get(Flag.BAD) == 4)
        assert Flag.BAD not in station.state("sim-1").flags
        assert station.state("sim-1").flags[Flag.GOOD] == 12 + 4


def test_sensors_without_a_topic_post_to_the_gateway(tmp_path: Path) -> None:
    write_park(tmp_path / "parks", "own")
    store = f"sqlite:///{tmp_path / 'signboard.db'}"
    with running_gateway(NOBODY, parks=tmp_path / "parks", database=store) as client:
        parks, gateway = f"--parks={tmp_path / 'parks'}", f"--gateway={client.base_url}"
        done = simulate("default", parks, gateway, "--history=2h", "--duration=2s", "--fault=sim-3=null@now")
        assert done.returncode == 0, done.stderr
        states = {one["sensor"]: one for one in client.get("/sensors").json()}
    assert {name: sum(state["flags"].values()) for name, state in states.items()} == {
        "sim-1": 24 + 3, "sim-2": 24 + 3, "sim-3": 24,
    }  # fmt: skip
    assert states["sim-3"]["rejects"] == {"null": 3}


def test_a_simulation_survives_a_restart_of_the_broker_and_ends_at_sigterm(broker: Mosquitto, tmp_path: Path) -> None:
    park = write_park(tmp_path / "parks", "zigbee2mqtt", 1)
    command = [sys.executable, "-m", "sensors", "simulate", "default", f"--parks={tmp_path / 'parks'}", "--history=0h"]
    with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as store:
        station = Station({"default": park}, store)

        def arrived() -> int:
            return station.state("sim-1").flags.get(Flag.GOOD, 0)

        with (
            Subscriber(Broker.at(broker.url), station),
            subprocess.Popen([*command, f"--broker={broker.url}"], cwd=ROOT, stdout=subprocess.DEVNULL) as process,
        ):
            assert eventually(lambda: arrived() > 1)
            broker.stop(signal.SIGKILL)
            before = arrived()
            broker.start()
            assert eventually(lambda: arrived() > before + 1, 30)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 130


def test_tls_and_a_password_come_from_the_gateways_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate, words = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "words"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *subject]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(words), "park", "secret"], check=True)  # noqa: S607
    more = f"allow_anonymous false\npassword_file {words}\ncafile {certificate}\ncertfile {certificate}\nkeyfile {key}"
    with mosquitto(tmp_path / "broker", more) as broker:
        send = ["--count=1", "--history=0h", "--duration=0s", f"--broker=mqtts://localhost:{broker.port}"]
        assert "No broker answers" in simulate(*send).stderr  # nobody knows the certificate's authority
        monkeypatch.setenv("SIGNBOARD_GATEWAY_BROKER_CA", str(certificate))
        assert "refuses us" in simulate(*send).stderr
        monkeypatch.setenv("SIGNBOARD_GATEWAY_BROKER_USER", "park")
        monkeypatch.setenv("SIGNBOARD_GATEWAY_BROKER_PASSWORD", "secret")
        done = simulate(*send)
    assert done.returncode == 0, done.stderr
    assert "sent: sim-1 1" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_without_a_broker_it_says_so() -> None:
    done = simulate("--broker=mqtt://127.0.0.1:1", "--history=0h", "--duration=1s")
    assert done.returncode == 1
    assert "No broker answers at 127.0.0.1:1" in done.stderr
    assert "No broker is set" in simulate("--history=0h", "--duration=1s").stderr


def test_recorded_data_arrive_shifted_to_now(broker: Mosquitto, tmp_path: Path) -> None:
    park = write_park(tmp_path / "parks", "thingsboard", 1)
    rows = [f"2019-07-{day:02}T{hour:02}:00,{20 + day + hour / 10}\n" for day in (1, 2, 3) for hour in range(24)]
    (tmp_path / "july.csv").write_text("time,value\n" + "".join(rows))
    with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as store:
        station = Station({"default": park}, store)
        with Subscriber(Broker.at(broker.url), station) as subscriber:
            assert eventually(lambda: subscriber.connected)
            parks, url = f"--parks={tmp_path / 'parks'}", f"--broker={broker.url}"
            done = run_room(
                "sensors", "replay", str(tmp_path / "july.csv"), "--park=default", "--timezone=Asia/Seoul", parks, url
            )
            assert done.returncode == 0, done.stderr
            assert "48 of 72 rows" in done.stdout
            now = datetime.now(UTC)
            assert eventually(lambda: len(store.between("sim-1", now - timedelta(hours=48), now)) == 48)
        assert store.between("sim-1", now - timedelta(minutes=5), now)[-1].observation.value == 25.3


def test_check_shows_each_sensor_and_fails_while_one_is_silent(broker: Mosquitto, tmp_path: Path) -> None:
    write_park(tmp_path / "parks", "tasmota", 2)
    parks, url = f"--parks={tmp_path / 'parks'}", f"--broker={broker.url}"
    look = ["sensors", "check", parks, url, "--seconds=3", f"--database=sqlite:///{tmp_path / 'none.db'}"]
    silent = run_room(*look)
    assert silent.returncode == 1
    assert silent.stdout.count("silent") == 2
    sends = [sys.executable, "-m", "sensors", "simulate", "default", parks, url, "--history=0h", "--duration=60s"]
    with subprocess.Popen(sends, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            good = run_room(*look)
        finally:
            process.terminate()
    assert good.returncode == 0, good.stdout
    assert "tele/sim-2/SENSOR" in good.stdout
    assert not (tmp_path / "none.db").exists()


def test_check_names_the_line_of_a_wrong_park_file(tmp_path: Path) -> None:
    write_park(tmp_path, "tasmota", 2)
    path = tmp_path / "default.yaml"
    path.write_text(path.read_text().replace("tasmota", "tasmoto", 1), encoding="utf-8")
    done = run_room("sensors", "check", f"--parks={tmp_path}")
    assert done.returncode == 1
    assert "devices.0.adapter" in done.stderr


def test_prune(broker: Mosquitto, tmp_path: Path) -> None:
    park = write_park(tmp_path / "parks", "zigbee2mqtt", 1)
    url = f"--database=sqlite:///{tmp_path / 'signboard.db'}"
    assert run_room("sensors", "prune", url).returncode == 1  # there is nothing yet
    with SensorStore.open(url.removeprefix("--database=")) as store:
        station = Station({"default": park}, store)
        with Subscriber(Broker.at(broker.url), station) as subscriber:
            assert eventually(lambda: subscriber.connected)
            simulate(
                "default", f"--parks={tmp_path / 'parks'}", f"--broker={broker.url}", "--history=10h", "--duration=1s"
            )
            assert eventually(lambda: sum(station.state("sim-1").flags.values()) == 120 + 2)
        assert run_room("sensors", "prune", url).stdout == "0 observations deleted\n"  # of more than 400 days
        pruned = run_room("sensors", "prune", "--keep=5h", url)
        assert "60 observations deleted" in pruned.stdout or "61 observations deleted" in pruned.stdout, pruned
        assert len(store.between("sim-1", *_ever())) < 65


def _ever() -> tuple[datetime, datetime]:
    return datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
