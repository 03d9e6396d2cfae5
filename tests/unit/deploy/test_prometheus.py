"""The alerts: severity, patience, a runbook entry in both languages, and vLLM's names as this vLLM has them.

promtool's own checks, and the gateway's names, are in tests/service/test_monitoring.py.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.support.monitoring import ALERT_TESTS, PROMETHEUS, VLLM_METRICS, alerts

BY_NAME: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in alerts()}


@pytest.mark.parametrize("name", BY_NAME)
def test_an_alert_says_how_urgent_it_is_for_how_long_and_where_to_read_on(name: str) -> None:
    rule = BY_NAME[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    assert re.search("[가-힣]", rule["annotations"]["summary_ko"])
    assert not re.search("[가-힣]", rule["annotations"]["summary"])


@pytest.mark.parametrize("page", ["runbook.md", "runbook.ko.md"])
def test_the_runbook_has_one_entry_for_each_alert(page: str) -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert headings == list(BY_NAME)


@pytest.mark.parametrize("page", ["runbook.md", "runbook.ko.md"])
def test_each_entry_of_the_runbook_says_what_to_see_what_it_means_and_what_to_do(page: str) -> None:
    entries = re.split(r"^## ", (ROOT / "docs" / page).read_text(), flags=re.MULTILINE)[1:]
    wanted = ["- **You see.** ", "- **It means.** ", "- **Do.** "]
    if page == "runbook.ko.md":
        wanted = ["- **증상.** ", "- **의미.** ", "- **조치.** "]
    severities = {"page": "page", "ticket": "ticket"} if page == "runbook.md" else {"page": "호출", "ticket": "작업"}
    for entry in entries:
        name, severity, *lines = [line for line in entry.splitlines() if line]
        assert severity == f"*{severities[BY_NAME[name]['labels']['severity']]}*", name
        begins = [next((start for start in wanted if line.startswith(start)), None) for line in lines]
        assert [begin for begin in begins if begin] == wanted, name


def test_every_alert_is_tested_quiet_and_firing() -> None:
    tests = yaml.safe_load(ALERT_TESTS.read_text())["tests"]
    fired, quiet = set(), set()
    for one in tests:
        for check in one.get("promql_expr_test", ()):
            names = {
                name for sample in check["exp_samples"] for name in re.findall(r'alertname="(\w+)"', sample["labels"])
            }
            fired |= names
            quiet |= set() if names else {one["name"].split(":")[0]}
    assert fired == quiet == set(BY_NAME)


def test_prometheus_asks_the_jobs_that_the_alerts_name() -> None:
    text = (PROMETHEUS / "prometheus.yml").read_text()
    config = yaml.safe_load(text)
    optional = set(re.findall(r"^#  - job_name: (\S+)", text, re.MULTILINE))  # for those who have a router
    jobs = {one["job_name"] for one in config["scrape_configs"]} | optional
    assert optional == {"signboard-router"}
    named = set(re.findall(r'job="([^"]+)"', " ".join(rule["expr"] for rule in alerts())))
    assert named == jobs
    assert all((PROMETHEUS / name).is_file() for name in config["rule_files"])


def test_the_recorded_names_of_vllm_are_those_of_the_installed_one() -> None:
    """A name that an update removes is noticed here; their types come from a real vLLM's answer."""
    found = find_spec("vllm")
    assert found
    assert found.origin
    folder = Path(found.origin).parent / "v1"
    code = "".join(
        (folder / name).read_text() for name in ("metrics/loggers.py", "spec_decode/metrics.py", "metrics/perf.py")
    )
    names = [line.split()[0] for line in VLLM_METRICS.read_text().splitlines() if line.startswith("vllm:")]
    assert len(names) > 40
    assert [name for name in names if f'"{name.removesuffix("_total")}"' not in code and f'"{name}"' not in code] == []
