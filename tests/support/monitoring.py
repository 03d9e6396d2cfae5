"""What deploy/prometheus and deploy/grafana ask: their queries, parsed, with the metrics and labels that they name."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from tests.conftest import ROOT

PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
ALERTS, ALERT_TESTS = PROMETHEUS / "alerts.yml", PROMETHEUS / "alerts.test.yml"
DASHBOARDS = sorted(GRAFANA.glob("*.json"))
VLLM_METRICS = ROOT / "tests/unit/deploy/vllm_metrics.txt"
OF_PROMETHEUS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity"}}  # Prometheus' own series
OF_ROUTER = {"vllm_router_worker_health"}  # tests/service/test_router.py sees them at a router that runs
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("", "_count", "_sum")}


def alerts() -> list[dict[str, Any]]:
    """Return every alert."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def queries(path: Path) -> list[str]:
    """Return a dashboard's queries, with an interval where Grafana puts one."""
    panels = dashboard(path)["panels"]
    return [target["expr"].replace("$__rate_interval", "5m") for one in panels for target in one.get("targets", ())]


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """Return (metric, labels that are compared) of a query.

    Raises:
        ValueError: it is no PromQL.
    """
    found: list[tuple[str, set[str]]] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name or "", {matcher.name for matcher in node.matchers.matchers}))

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def exposed(text: str) -> set[str]:
    """Return the names of the series that an exposition announces by its TYPE lines."""
    return expand(re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE))


def expand(typed: list[tuple[str, str]]) -> set[str]:
    """Return the names of the series of typed metrics."""
    return {name + suffix for name, kind in typed for suffix in SUFFIXES.get(kind, ("",))}


def vllm_names() -> set[str]:
    """Return the names that vLLM exposes, as recorded."""
    lines = VLLM_METRICS.read_text().splitlines()
    return expand([(name, kind) for name, kind in (line.split() for line in lines if not line.startswith("#"))])
