"""The benchmark's own parts: what counts as an answer, the original's server on a real line, the page."""

import asyncio
import json
import random
import re
import statistics
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from benchmarks.capacity import CARDS, measured_rows, roofline_rows, seconds_per_message
from benchmarks.gpu_check import SHAPES, Size
from benchmarks.scene import DAY, SCENE
from benchmarks.scripted_server import GOOD
from benchmarks.speed.load import arrivals, closed_loop
from benchmarks.speed.report import BEGIN, END, publish, summarize, tables
from core.reading import Reading
from core.sign import DEFAULT_SIGN
from data.compose import compose
from gateway.parks import read_park
from tests.conftest import ROOT

NUMBERS = json.loads((ROOT / "docs/benchmarks.json").read_text(encoding="utf-8"))


def test_all_contenders_get_the_prompt_that_the_gateway_sends() -> None:
    default = read_park(ROOT / "parks/default.yaml", DEFAULT_SIGN, "Asia/Seoul")
    assert default.scene(DAY) == SCENE


def test_a_fast_wrong_answer_counts_as_none() -> None:
    async def labelled(_reading: Reading) -> str:
        await asyncio.sleep(0.01)
        return "출력: " + GOOD

    level = asyncio.run(closed_loop(labelled, 4, 0.2, seed=1)).figures()
    assert level["wrong"] == level["asked"] >= 4
    assert level["per_second"] == 0
    assert level["failed"] == 0


def test_what_is_not_answered_counts_as_failed() -> None:
    async def gone(_reading: Reading) -> str:
        await asyncio.sleep(0.01)
        raise aiohttp.ClientConnectionError

    level = asyncio.run(closed_loop(gone, 2, 0.5, seed=1)).figures()
    assert level["failed"] == level["asked"] >= 2
    assert level["per_second"] == 0


def test_a_late_answer_shows_in_the_waiting_time_of_those_behind_it() -> None:
    first, server = [True], asyncio.Semaphore(1)

    async def stuck_at_first(reading: Reading) -> str:
        async with server:
            if first:
                first.clear()
                await asyncio.sleep(0.5)
        return compose(reading, SCENE, random.Random(1))

    level = asyncio.run(arrivals(stuck_at_first, 100, 1, seed=1)).figures()
    assert 60 < level["asked"] < 140, "the seed decides, not the machine"
    assert sum(latency > 250 for latency in level["latencies_ms"]) > 15


def test_every_caller_is_busy_all_the_time() -> None:
    running, most = 0, 0

    async def slow(reading: Reading) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return compose(reading, SCENE, random.Random(1))

    level = asyncio.run(closed_loop(slow, 8, 0.4, seed=1)).figures()
    assert most == 8
    assert level["wrong"] == 0
    assert min(level["latencies_ms"]) >= 20
    seconds = level["asked"] / level["per_second"]
    assert level["asked"] <= 8 * (seconds / 0.02 + 1), "each caller waits for its answer before it asks again"


def one_round(recipe: str) -> dict[str, Any]:
    """Return a round in which the original is never right."""
    wrong = {"asked": 9, "wrong": 9, "failed": 0, "per_second": 0.0, "cpu_seconds": 1.0, "generator_seconds": 0.1}
    right = wrong | {"wrong": 0, "per_second": 4.0}
    one = {"start_seconds": 1.0, "peak_mib": 100.0, "stream": {}, "poisson": None}
    levels = {name: level | {"latencies_ms": [5.0] * 9} for name, level in (("original", wrong), ("vllm-awq", right))}
    return {
        "machine": {"date": "", "commit": "", "cores": 2, "processor": "", "memory_gib": 1, "versions": {}},
        "recipe": recipe,
        "seconds": 1,
        "busy": 0.7,
        "rounds": [{name: one | {"closed": {"1": level}} for name, level in levels.items()}],
    }


def test_a_contender_that_is_never_right_gets_no_ratio_and_breaks_no_table() -> None:
    shown = tables(summarize(one_round("nano")))
    assert "| `original`: the same in bf16 | 0.0 | – | – |" in shown
    assert "| 4.0 | – | – |" in shown


def test_another_recipe_has_a_page_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    publish(one_round("other"), tmp_path)
    page = (tmp_path / "benchmarks-other.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((images/.+?)\)", page)
    assert "| 4.0 | – | – |" in page
    assert len(pictures) == 2
    assert all((tmp_path / picture).stat().st_size > 10_000 for picture in pictures)
    assert json.loads((tmp_path / "benchmarks-other.json").read_text(encoding="utf-8"))["recipe"] == "other"


def test_the_page_shows_the_numbers_beside_it() -> None:
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0].strip() == tables(NUMBERS).strip()


@pytest.mark.parametrize("page", ["results.md", "results.ko.md"])
def test_the_results_page_shows_the_same_numbers(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    names = ("original", "stop", "stop-merged", "vllm-adapter", "vllm-merged", "vllm-awq", "gateway", "llama.cpp-q4")
    for closed in (NUMBERS["contenders"][name]["closed"] for name in names):
        medians = [f"{statistics.median(closed[n]['per_second']):.1f}" for n in ("1", "8", "32")]
        assert f"| {' | '.join(medians)} |" in text


@pytest.mark.parametrize("page", ["capacity.md", "capacity.ko.md"])
def test_the_capacity_page_shows_what_its_command_prints(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for row in [*measured_rows(NUMBERS)[1:], *roofline_rows()[1:]]:
        assert f"| {' | '.join(row[1:])} |".replace("|  ", "| ") in text


def test_the_roofline_is_that_of_the_facts() -> None:
    # 6.1 GB a token over 360 GB/s: 16.9 ms; 29 of a message's 30 tokens are decoded
    assert seconds_per_message(SHAPES[Size.KORMO], CARDS[0], 1) == pytest.approx(29 * 16.9e-3, rel=0.02)
