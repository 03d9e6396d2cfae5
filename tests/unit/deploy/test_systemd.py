"""The systemd units, judged by systemd's own tools: they parse, they are hardened, and their limits fit the code's."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.server import DRAIN_MARGIN
from gateway.settings import CONNECTIONS, GatewaySettings
from serve.flags import DRAIN_SECONDS
from serve.router import given_servers
from serve.settings import ServeSettings
from tests.conftest import ROOT

UNITS = ROOT / "deploy/systemd"
GATEWAY, VLLM = UNITS / "signboard-gateway.service", UNITS / "signboard-vllm.service"
ROUTER = UNITS / "signboard-router.service"
EXPOSURE = {
    GATEWAY: 2.0,
    VLLM: 2.0,
    ROUTER: 2.0,
}  # of 10; systemd-analyze calls up to 2 "ok", a unit without hardening has 9.6

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(
    ANALYZE is None, reason="systemd-analyze is not installed here (Debian package systemd)"
)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ANALYZE or "", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin"},
    )


def options(unit: Path) -> dict[str, list[str]]:
    """Return a unit's options with all their values."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(h|min|s|)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"h": 3600, "min": 60}.get(unit, 1)


def exposure(unit: Path) -> float:
    done = analyze("security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    return float(found[1])


@needs_systemd
@pytest.mark.parametrize("unit", EXPOSURE, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    for other in EXPOSURE:  # the folder into which they are installed is not there; this checkout is
        (tmp_path / other.name).write_text(other.read_text().replace("/opt/signboard", str(ROOT)))
    done = analyze("verify", "--man=no", tmp_path / unit.name)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", EXPOSURE, ids=lambda unit: unit.stem)
def test_the_unit_is_hardened(unit: Path) -> None:
    assert exposure(unit) <= EXPOSURE[unit]


@needs_systemd
def test_the_figure_notices_a_lost_line(tmp_path: Path) -> None:
    weaker = tmp_path / GATEWAY.name
    weaker.write_text(re.sub(r"^(SystemCallFilter|CapabilityBoundingSet)=.*$", "", GATEWAY.read_text(), flags=re.M))
    assert exposure(weaker) > EXPOSURE[GATEWAY]


def test_what_vllm_lacks_has_a_reason() -> None:
    """Whatever the gateway's unit has and vLLM's has not stands in vLLM's list of reasons."""
    hardening = {"MemoryDenyWriteExecute", "PrivateDevices", "PrivateUsers", "ProcSubset", "WatchdogSec"}
    missing = {name for name in options(GATEWAY) if name.startswith(("Private", "Protect", "Restrict", "Memory"))}
    missing = (missing | hardening) - set(options(VLLM)) - {"MemoryMax"}
    assert missing == hardening
    reasons = VLLM.read_text().split("[Unit]")[0]
    assert all(f"{name}=" in reasons for name in missing)


def test_what_the_routers_unit_lacks_has_a_reason() -> None:
    hardening = {name for name in options(GATEWAY) if name.startswith(("Private", "Protect", "Restrict", "Memory"))}
    assert hardening - set(options(ROUTER)) == set()
    lacks = {"WatchdogSec", "NotifyAccess"} & set(options(GATEWAY)) - set(options(ROUTER))
    assert lacks == {"WatchdogSec"}
    assert "It sends no notifications." in ROUTER.read_text()


def test_the_router_may_listen_where_it_listens() -> None:
    ports = (ServeSettings().router_port, ServeSettings().router_metrics_port)
    assert options(ROUTER)["SocketBindAllow"] == [f"tcp:{port}" for port in ports]
    assert options(ROUTER)["ExecStart"] == ["/opt/signboard/.venv/bin/python -m serve router"]
    (given,) = re.findall(r"^SIGNBOARD_ROUTER_WORKERS=(.+)$", (UNITS / "router.env").read_text(), re.MULTILINE)
    assert len(given_servers(given)) == 2


def test_the_stop_timeouts_outlast_the_drain() -> None:
    drain = GatewaySettings().deadline + DRAIN_MARGIN
    assert seconds(options(ROUTER)["TimeoutStopSec"][0]) > drain
    assert ROUTER.name in options(GATEWAY)["After"][0].split()
    assert VLLM.name in options(ROUTER)["After"][0].split()
    assert seconds(options(VLLM)["TimeoutStopSec"][0]) > DRAIN_SECONDS
    assert seconds(options(GATEWAY)["TimeoutStopSec"][0]) > drain
    assert seconds(options(VLLM)["TimeoutStopSec"][0]) > drain
    assert VLLM.name in options(GATEWAY)["After"][0].split(), "systemd stops the gateway first"


def test_the_gateway_may_have_as_many_files_as_connections() -> None:
    assert int(options(GATEWAY)["LimitNOFILE"][0]) > 2 * CONNECTIONS
    assert options(GATEWAY)["SocketBindAllow"] == [f"tcp:{GatewaySettings().port}"]


@pytest.mark.parametrize("name", ["deploy-systemd.md", "deploy-systemd.ko.md"])
def test_every_room_of_the_gateway_is_compiled_at_the_install(name: str) -> None:
    (line,) = re.findall(r"-m compileall -q \.venv/lib (.+)", (ROOT / "docs" / name).read_text())
    used = {"core", "pipeline", "clients", "database", "sensors", "signs", "gateway", "serve"}
    assert set(line.split()) == used


def test_restarts_are_limited() -> None:
    gateway, vllm = options(GATEWAY), options(VLLM)
    assert gateway["Restart"] == vllm["Restart"] == ["always"]
    assert min(seconds(unit["RestartSec"][0]) for unit in (gateway, vllm)) >= 5
    assert (gateway["StartLimitIntervalSec"], vllm["StartLimitBurst"]) == (["0"], ["5"])
    # else five slow starts would never fall into one interval
    assert seconds(vllm["StartLimitIntervalSec"][0]) > 5 * seconds(vllm["RestartSec"][0])


def test_the_units_start_what_the_house_has() -> None:
    assert options(GATEWAY)["ExecStart"] == ["/opt/signboard/.venv/bin/python -m gateway run"]
    assert options(GATEWAY)["ExecStopPost"] == ["-/opt/signboard/.venv/bin/python -m signs blank"]
    (command,) = options(VLLM)["ExecStart"]
    assert command == "/opt/signboard/.venv/bin/python -m serve exec --recipe recipes/${RECIPE}.yaml"
    assert (ROOT / "recipes" / f"{options(VLLM)['Environment'][0].removeprefix('RECIPE=')}.yaml").is_file()


@pytest.mark.parametrize("name", ["gateway.env", "vllm.env", "router.env"])
def test_the_environment_files_name_explained_variables(name: str) -> None:
    named = set(re.findall(r"^([A-Z_]+)=", (UNITS / name).read_text(), re.MULTILINE))
    explained = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert named <= explained


def test_each_user_is_made() -> None:
    made = re.findall(r"^u (\S+) ", (UNITS / "signboard.sysusers.conf").read_text(), re.MULTILINE)
    assert [options(unit)["User"][0] for unit in (GATEWAY, VLLM, ROUTER)] == made
