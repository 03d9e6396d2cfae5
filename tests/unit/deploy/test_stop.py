"""Whatever stops the gateway waits until its requests, its readings and its signs are done."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import gateway.signs
import sensors.mqtt
from gateway.server import DRAIN_MARGIN
from gateway.settings import GatewaySettings
from pipeline.recipe import ServeSection
from serve.supervisor import GatewayProcess
from tests.conftest import ROOT


@pytest.fixture
def needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> float:
    """Return the seconds that a stop may take with the default deadline."""
    monkeypatch.chdir(tmp_path)  # no .env
    drain = GatewaySettings().deadline + DRAIN_MARGIN
    return drain + sensors.mqtt.STOP_SECONDS + gateway.signs.STOP_SECONDS


def test_docker_waits(needed: float) -> None:
    told: Any = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert float(told["services"]["gateway"]["stop_grace_period"].removesuffix("s")) > needed


def test_systemd_waits(needed: float) -> None:
    unit = (ROOT / "deploy/systemd/signboard-gateway.service").read_text()
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert float(seconds) > needed


def test_kubernetes_waits(needed: float) -> None:
    told = yaml.safe_load_all((ROOT / "deploy/kubernetes/base/gateway.yaml").read_text())
    (pod,) = (one["spec"]["template"]["spec"] for one in told if one["kind"] == "Deployment")
    assert pod["terminationGracePeriodSeconds"] > needed


def test_the_supervisor_waits(needed: float, tmp_path: Path) -> None:
    process = GatewayProcess(GatewaySettings(), "http://127.0.0.1:9/v1", ServeSection(), tmp_path / "log")
    assert process._grace > needed
