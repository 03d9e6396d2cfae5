"""What counts as wrong, since when, and what is said about it: without a network, against the alerts' file."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from core.errors import ServerUnavailable
from gateway.admin.faults import ORDER, PATIENCE, URGENT, Fault, faults
from gateway.admin.park_files import ParkFiles
from gateway.admin.runbook import read_runbook
from gateway.admin.scrape import History, Scrape
from gateway.admin.watch import Parts, Watch
from gateway.settings import GatewaySettings
from tests.conftest import ROOT
from tests.support.monitoring import alerts

BY_NAME: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in alerts()}
NOT_OURS = {
    "GatewayDown",
    "NoLeader",
    "RouterDown",
    "ServerOut",
    "ModelQueue",
    "KvCacheFull",
}  # the gateway cannot see them
WITHOUT_ALERT = {"ParkFileWrong", "ParkFileChanged", "LookFailed"}
TEXTS = (ROOT / "gateway/admin/page/admin_texts.js").read_text(encoding="utf-8")


class Clock:
    """Both clocks at once."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 26, tzinfo=UTC) + timedelta(seconds=self.seconds)


def found(fill: Callable[[CollectorRegistry], None]) -> set[tuple[str, str]]:
    registry = CollectorRegistry()
    fill(registry)
    return {(fault.code, fault.subject) for fault in faults(Scrape(registry), History())}


def gauge(name: str, value: float, **labels: str) -> Callable[[CollectorRegistry], None]:
    def fill(registry: CollectorRegistry) -> None:
        made = Gauge(name, name, list(labels), registry=registry)
        (made.labels(**labels) if labels else made).set(value)

    return fill


def counts(name: str, label: str, **values: float) -> Callable[[CollectorRegistry], None]:
    def fill(registry: CollectorRegistry) -> None:
        made = Counter(name, name, [label], registry=registry)
        for value, count in values.items():
            made.labels(value).inc(count)

    return fill


DAY = 86400
# What is just wrong, what is just right, and what it concerns.
EDGES = [
    ("BreakerOpen", "signboard_breaker_open", 1, 0, {}, ""),
    ("DatabaseDown", "signboard_database_up", 0, 1, {}, ""),
    ("BrokerLost", "signboard_broker_connected", 0, 1, {}, ""),
    ("PublisherLost", "signboard_publisher_connected", 0, 1, {}, ""),
    ("BoardBlank", "signboard_board_blank", 1, 0, {"board": "lake", "source": "sensors"}, "lake"),
    ("BoardForgotten", "signboard_board_blank", 1, 0, {"board": "hill", "source": "callers"}, "hill"),
    (
        "BoardMessageOld",
        "signboard_board_message_age_seconds",
        4 * 3600 + 1,
        4 * 3600,
        {"board": "lake", "source": "sensors"},
        "lake",
    ),
    ("ParkWithoutReading", "signboard_board_no_reading", 1, 0, {"board": "lake", "reason": "no_current"}, "lake"),
    ("SensorSilent", "signboard_sensor_missing", 1, 0, {"sensor": "lawn"}, "lawn"),
    ("SignDeaf", "signboard_sign_state", 1, 0, {"sign": "gate", "state": "failed"}, "gate"),
    ("SignRefused", "signboard_sign_state", 1, 0, {"sign": "gate", "state": "refused"}, "gate"),
    ("BackupOld", "signboard_backup_age_seconds", 26 * 3600 + 1, 26 * 3600, {}, ""),
    ("CertificateEnds", "signboard_certificate_seconds", 14 * DAY - 1, 14 * DAY, {"file": "a.pem"}, "a.pem"),
    ("CertificateEnded", "signboard_certificate_seconds", DAY - 1, DAY, {"file": "a.pem"}, "a.pem"),
]


@pytest.mark.parametrize(("code", "metric", "wrong", "right", "labels", "subject"), EDGES, ids=[e[0] for e in EDGES])
def test_a_gauge_is_wrong_from_its_alerts_threshold_on(
    code: str, metric: str, wrong: float, right: float, labels: dict[str, str], subject: str
) -> None:
    assert (code, subject) in found(gauge(metric, wrong, **labels))
    assert (code, subject) not in found(gauge(metric, right, **labels))
    assert metric in BY_NAME[code]["expr"], "the alert watches the same metric"


def test_a_board_that_an_administrator_blanked_or_that_compares_whole_days_is_no_fault() -> None:
    assert found(gauge("signboard_board_blank", 1, board="lake", source="blanked")) == set()

    def fill(registry: CollectorRegistry) -> None:
        gauge("signboard_board_blank", 1, board="dune", source="sensors")(registry)
        gauge("signboard_board_no_reading", 1, board="dune", reason="too_early")(registry)

    assert found(fill) == set()


@pytest.mark.parametrize(("free", "code"), [(0.029, "DiskFull"), (0.03, "DiskFilling"), (0.1, None)])
def test_the_disk(free: float, code: str | None) -> None:
    def fill(registry: CollectorRegistry) -> None:
        gauge("signboard_disk_free_bytes", free * 1e9)(registry)
        gauge("signboard_disk_size_bytes", 1e9)(registry)

    assert found(fill) == ({(code, "")} if code else set())


def test_shares_need_enough_of_the_last_hour() -> None:
    assert found(counts("signboard_samples", "result", rejected=7, passed=14)) == {("SamplesRejected", "")}
    assert found(counts("signboard_samples", "result", rejected=10, passed=10)) == set(), "20 say little"
    assert found(counts("signboard_messages", "result", none=1, written=10)) == {("NoMessage", "")}
    assert found(counts("signboard_messages", "result", none=1, written=19)) == set()


def test_what_is_over_an_hour_old_no_longer_counts() -> None:
    clock, registry = Clock(), CollectorRegistry()
    samples = Counter("signboard_samples", "samples", ["result"], registry=registry)
    history = History(clock.monotonic)
    samples.labels("rejected").inc(30)
    for minute in range(61):
        history.keep(Scrape(registry))
        wrong = [fault.code for fault in faults(Scrape(registry), history)]
        assert wrong == ["SamplesRejected"], minute
        clock.seconds += 61
    assert list(faults(Scrape(registry), history)) == []


def test_doubted_readings_and_refused_requests() -> None:
    registry = CollectorRegistry()
    seen = Counter("signboard_observations", "seen", ["sensor", "flag"], registry=registry)
    seen.labels("lawn", "good").inc(4)
    seen.labels("lawn", "bad").inc(5)
    seen.labels("hill", "good").inc(5)
    seen.labels("hill", "doubtful").inc(5)
    asked = Counter("signboard_requests", "asked", ["route", "status"], registry=registry)
    asked.labels("/generate/temperature", "200").inc(90)
    asked.labels("/generate/batch", "503").inc(6)
    asked.labels("/boards/{board}", "503").inc(900)
    assert {(one.code, one.subject) for one in faults(Scrape(registry), History())} == {
        ("ReadingsDoubted", "lawn"),
        ("RequestsRefused", ""),
    }


def test_faults_and_alerts_are_the_same_and_equally_urgent() -> None:
    assert set(ORDER) == set(BY_NAME) - NOT_OURS | WITHOUT_ALERT
    assert len(ORDER) == len(set(ORDER))
    assert {name for name in ORDER if BY_NAME.get(name, {"labels": {}})["labels"].get("severity") == "page"} == URGENT
    seconds = {"m": 60, "h": 3600}
    for code, patience in PATIENCE.items():
        told = BY_NAME[code]["for"]
        assert int(told[:-1]) * seconds[told[-1]] == patience, code


def test_every_fault_has_its_title_its_meaning_and_what_to_do_in_both_languages() -> None:
    told = read_runbook()
    for code in ORDER:
        for text in (told[code].means, told[code].todo):
            assert re.search("[가-힣]", text.ko), code
            assert len(text.en) > 20, code
            assert not re.search(r"\]\(|\*\*", text.ko + text.en), code
        assert TEXTS.count(f" {code}: ") == 2, code
        entry = told[code].page.removeprefix("docs/")
        assert re.search(rf"^##+ {code}$", (ROOT / "docs" / entry).read_text(encoding="utf-8"), re.MULTILINE)
    assert told["SensorSilent"].means.en.startswith("Its battery, its radio")


def test_without_the_docs_nothing_is_said_and_nothing_fails(tmp_path: Path) -> None:
    assert read_runbook(tmp_path) == {}


class Model:
    """The model's health, as told."""

    def __init__(self) -> None:
        self.down = False

    async def check(self) -> str:
        if self.down:
            raise ServerUnavailable("Nothing answers.", "Start it.")
        return "prompt-2"


def watching(clock: Clock, registry: CollectorRegistry, model: Model, folder: Path, **parts: Any) -> Watch:
    (folder / "default.yaml").write_text("name: 공원\nelements: [벤치]\n", encoding="utf-8")
    made: Any = {"signs": {}, "station": None, "follower": None} | parts
    files = ParkFiles(GatewaySettings(parks=folder))
    return Watch(Parts(registry, model, **made), files, clock.now, clock.monotonic)  # type: ignore[arg-type]


def test_a_fault_keeps_its_beginning_until_it_ends(tmp_path: Path) -> None:
    clock, registry, model = Clock(), CollectorRegistry(), Model()
    broker = Gauge("signboard_broker_connected", "broker", registry=registry)
    watch = watching(clock, registry, model, tmp_path)
    began = clock.now()
    for _ in range(3):
        look = asyncio.run(watch.look())
        assert [(one.fault.code, one.since, one.urgent) for one in look.faults] == [("BrokerLost", began, True)]
        clock.seconds += 15
    broker.set(1)
    look = asyncio.run(watch.look())
    assert (look.faults, look.at, look.fingerprint) == ((), clock.now(), "prompt-2")
    broker.set(0)
    assert asyncio.run(watch.look()).faults[0].since == clock.now(), "a new one"


def test_a_callers_board_is_forgotten_after_three_hours(tmp_path: Path) -> None:
    clock, registry = Clock(), CollectorRegistry()
    Gauge("signboard_board_blank", "blank", ["board", "source"], registry=registry).labels("hill", "callers").set(1)
    watch, began = watching(clock, registry, Model(), tmp_path), clock.now()
    assert asyncio.run(watch.look()).faults == ()
    clock.seconds += 3 * 3600 - 1
    assert asyncio.run(watch.look()).faults == ()
    clock.seconds += 1
    assert [(one.fault.code, one.since) for one in asyncio.run(watch.look()).faults] == [("BoardForgotten", began)]


def test_causes_stand_before_what_follows_from_them(tmp_path: Path) -> None:
    registry, model = CollectorRegistry(), Model()
    model.down = True
    Gauge("signboard_breaker_open", "open", registry=registry).set(1)
    Gauge("signboard_sensor_missing", "missing", ["sensor"], registry=registry).labels("lawn").set(1)
    Gauge("signboard_board_blank", "blank", ["board", "source"], registry=registry).labels("lake", "sensors").set(1)
    follower = SimpleNamespace(failures={"lake": "The model does not answer."})
    look = asyncio.run(watching(Clock(), registry, model, tmp_path, follower=follower).look())
    assert [one.fault.code for one in look.faults] == ["ModelDown", "BoardBlank", "SensorSilent"]
    assert look.faults[0].fault.detail == "Nothing answers."
    assert look.fingerprint is None
    model.down = False
    look = asyncio.run(watching(Clock(), registry, model, tmp_path, follower=follower).look())
    assert [one.fault.code for one in look.faults] == ["BreakerOpen", "BoardBlank", "LookFailed", "SensorSilent"]


def test_a_park_file_is_compared_with_what_was_read_at_the_start(tmp_path: Path) -> None:
    good = tmp_path / "default.yaml"
    good.write_text("name: 공원\nelements: [벤치]\n", encoding="utf-8")
    files = ParkFiles(GatewaySettings(parks=tmp_path))
    assert list(files.faults()) == []
    pond = tmp_path / "pond.yaml"
    pond.write_text("name: 연못\nelements: [없는것]\n", encoding="utf-8")
    wrong, changed = files.faults()
    assert wrong.code == "ParkFileWrong"
    assert "pond.yaml" in wrong.detail
    assert changed == Fault("ParkFileChanged", "pond.yaml")
    pond.write_text("name: 연못\nelements: [벤치]\n", encoding="utf-8")
    assert list(files.faults()) == [Fault("ParkFileChanged", "pond.yaml")]
    pond.unlink()
    assert list(files.faults()) == []
    good.unlink()
    assert [fault.code for fault in files.faults()] == ["ParkFileWrong", "ParkFileChanged"]
