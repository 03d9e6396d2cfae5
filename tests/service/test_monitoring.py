"""Alerts and dashboards against the real thing: promtool, and the /metrics of a gateway that runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.scripted_server import GOOD, eventually, saying, scripted
from core.ports import free_port
from gateway.keys import KeyScope, new_key
from tests.conftest import ROOT
from tests.service.test_gateway_process import TEN_TWENTY
from tests.service.test_sensors import settings
from tests.support.gateway_server import running_gateway
from tests.support.monitoring import (
    ALERT_TESTS,
    ALERTS,
    DASHBOARDS,
    OF_PROMETHEUS,
    OF_ROUTER,
    PROMETHEUS,
    alerts,
    exposed,
    queries,
    selectors,
    vllm_names,
)

QUERIES = {rule["alert"]: [rule["expr"]] for rule in alerts()} | {path.stem: queries(path) for path in DASHBOARDS}


DEAF = 'signboard_sign_state{sign="gate",state="failed"} 1.0'


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what a gateway exposes whose park has sensors, a broker that is away, backups and a certificate."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "backups").mkdir()
    watched: dict[str, Any] = {
        "broker": f"mqtt://127.0.0.1:{free_port()}",
        "publish": "signboard",
        "backups": folder / "backups",
        "certificate": folder / "no.pem",
    }
    told = settings(folder)
    with (folder / "parks" / "lake.yaml").open("a") as park:
        park.write(f"signs: [{{name: gate, driver: dabit, url: 'tcp://127.0.0.1:{free_port()}'}}]\n")
    with (
        scripted(saying(GOOD)) as model,
        running_gateway(model.url, **(told | watched)) as client,
    ):
        assert client.post("/generate/temperature", json=TEN_TWENTY | {"board": "office"}).status_code == 200
        assert client.post("/sensors/lake-post/readings", json={"value": 21.4, "unit": "°C"}).status_code == 200
        assert client.post("/sensors/lake-post/readings", json={"value": "?"}).status_code == 422
        assert eventually(lambda: "signboard_board_no_reading{" in client.get("/metrics").text)
        assert eventually(lambda: DEAF in client.get("/metrics").text)
        return client.get("/metrics").text


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool", path=f"{Path(sys.executable).parent}:/usr/bin")
    assert found, "promtool is missing: make test fetches it"
    return subprocess.run([found, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_promtool_takes_the_rules_and_the_scrape_settings() -> None:
    for done in (
        promtool("check", "rules", ALERTS),
        promtool("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml"),
    ):
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_not_before() -> None:
    done = promtool("test", "rules", ALERT_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_notices_a_threshold_that_moved(tmp_path: Path) -> None:
    (tmp_path / ALERTS.name).write_text(ALERTS.read_text().replace("< 0.1", "< 0.01"))
    (tmp_path / ALERT_TESTS.name).write_text(ALERT_TESTS.read_text())
    assert promtool("test", "rules", tmp_path / ALERT_TESTS.name).returncode == 1


@pytest.mark.parametrize("name", QUERIES)
def test_every_metric_that_is_asked_for_exists(name: str, scraped: str) -> None:
    known = exposed(scraped) | vllm_names() | set(OF_PROMETHEUS) | OF_ROUTER
    asked = {metric for query in QUERIES[name] for metric, _ in selectors(query)}
    assert asked - known == set()


@pytest.mark.parametrize("name", QUERIES)
def test_every_label_that_is_compared_exists(name: str, scraped: str) -> None:
    labels = {metric: set(names) for metric, names in OF_PROMETHEUS.items()}
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    for query in QUERIES[name]:
        for metric, compared in selectors(query):
            assert compared <= labels.get(metric, compared), metric


def test_the_gateway_exposes_what_alerts_watch(scraped: str) -> None:
    for line in (
        'signboard_board_blank{board="lake",source="sensors"} 1.0',
        'signboard_board_blank{board="office",source="callers"} 0.0',
        'signboard_board_no_reading{board="lake",reason="',
        'signboard_messages_total{result="none"} 0.0',
        "signboard_backup_age_seconds +Inf",
        'signboard_certificate_seconds{file="no.pem"} -Inf',
        "signboard_broker_connected 0.0",
        "signboard_publisher_connected 0.0",
        DEAF,
    ):
        assert line in scraped
    assert GOOD not in scraped


@pytest.mark.parametrize("page", ["monitoring.md", "monitoring.ko.md"])
def test_every_metric_that_the_gateway_exposes_is_explained(page: str, scraped: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    names = re.findall(r"^# TYPE (signboard_\w+)", scraped, re.MULTILINE)
    told = [name for name in names if not name.endswith("_created")]  # prometheus_client's own
    assert [name for name in told if not re.search(rf"`{name}[`{{]", text)] == []


def test_a_key_that_prometheus_sends_opens_the_metrics() -> None:
    secret, line = new_key("prometheus", [KeyScope.BOARD])
    with scripted(saying(GOOD)) as model, running_gateway(model.url, keys=line) as client:
        assert client.get("/metrics").status_code == 401
        assert httpx.get(client.base_url.join("/metrics"), headers={"authorization": f"Bearer {secret}"}).is_success
    assert "authorization:" in (PROMETHEUS / "prometheus.yml").read_text()
