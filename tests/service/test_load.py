"""The operators' load test, with the real Locust, before a scripted model behind a real gateway."""

import random
import re
import subprocess
import sys
from itertools import takewhile

import pytest

from benchmarks.scripted_server import LABELLED, Reply, Script, right_answer, saying, scripted
from benchmarks.sensors import schedule
from tests.conftest import ROOT
from tests.support.gateway_server import running_gateway

OPTIONS = (
    "--headless",
    "-u",
    "8",
    "-r",
    "100",
    "-t",
    "4s",
    "-s",
    "5",
    "--every",
    "0.01",
    "--hour",
    "0.03",
    "--burst",
    "0.2",
)


def locust(url: str, *options: str) -> tuple[int, str]:
    """Run the load test for four seconds; return its exit code and output."""
    command = [sys.executable, "-m", "locust", "-f", "benchmarks/locustfile.py", "--host", url, *OPTIONS, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("api", ["gateway", "openai"])
def test_a_network_that_is_served_well_passes(api: str) -> None:
    with scripted(right_answer) as model, running_gateway(model.url) as client:
        code, said = locust(str(client.base_url), "--api", api)
    assert code == 0, said
    assert "MISSED" not in said
    assert "0 wrong messages" in said
    assert re.search(r"^[1-9] bursts", said, re.MULTILINE)
    paths = {request.path for request in model.requests if request.body.get("max_tokens") != 1}
    assert paths == {"/v1/chat/completions"}


@pytest.mark.parametrize(
    ("script", "options", "missed"),
    [
        (saying(LABELLED), ("--api", "openai"), "wrong messages"),
        (Reply("no", 500), (), "errors"),
        (Reply('{"choices": []}'), ("--api", "openai"), "errors"),
        (right_answer, ("--goal-p99", "0.001"), "p99"),
    ],
)
def test_a_missed_goal_fails(script: Script, options: tuple[str, ...], missed: str) -> None:
    with scripted(script) as model, running_gateway(model.url) as client:
        code, said = locust(str(client.base_url), *options)
    assert code == 1, said
    assert any(line.startswith("MISSED") and missed in line for line in said.splitlines()), said


def test_hitting_the_gateways_rate_limit_is_explained() -> None:
    with scripted(right_answer) as model, running_gateway(model.url, rate_limit="10/minute") as client:
        code, said = locust(str(client.base_url))
    assert code == 1, said
    assert "SIGNBOARD_GATEWAY_RATE_LIMIT" in said


def test_a_load_test_without_requests_fails() -> None:
    with scripted(right_answer) as model:
        code, said = locust(model.url.removesuffix("/v1"), "--every", "1000", "--hour", "1000")
    assert code == 1, said
    assert "MISSED  0 requests" in said


def test_boards_send_at_their_own_pace_and_together_on_the_hour() -> None:
    boards = [list(takewhile(lambda t: t < 7200, schedule(600, 3600, 5, random.Random(seed)))) for seed in range(50)]
    for moments in boards:
        assert moments == sorted(moments)
        assert len(moments) == 12 + 1
        assert sum(3600 <= moment <= 3605 for moment in moments) >= 1
    assert len({round(moments[0]) for moments in boards}) > 30, "no two boards in step"
