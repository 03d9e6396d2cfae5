"""`python -m evaluation grid` against a scripted endpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scripted_server import Reply, Request, right_answer, saying, scripted
from clients.client import MAX_SAMPLES
from core.errors import ServerFailed
from core.park import Scene
from core.reading import Reading
from data.scenes import cases
from evaluation.__main__ import app
from tests.conftest import run_room

EVERY = 500
ASKED = [(reading, scene) for _, reading, scene in cases(1, EVERY)]


def evaluate(url: str, out: Path, *options: str) -> dict[str, Any]:
    app(["grid", f"--every={EVERY}", "--url", url, "--out", str(out), *options], standalone_mode=False)
    report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return report


def scene_of(answer: dict[str, Any]) -> Scene | None:
    return answer["scene"] and Scene.of(answer["scene"]["season"], answer["scene"]["elements"])


def test_grid_asks_raw_and_through_the_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(right_answer) as server:
        report = evaluate(server.url, tmp_path / "new" / "report.json")
    assert list(report) == ["raw", "client"]
    for way in report.values():
        assert [(Reading(**answer["reading"]), scene_of(answer)) for answer in way["answers"]] == ASKED
        assert way["scores"]["answers"] == len(ASKED) == 7
        perfect = ("right", "stopped", "one_line", "fits_temperature", "passes")
        assert [way["scores"][key] for key in perfect] == [1.0] * len(perfect)
        wrong = ("labels", "absent", "unsafe", "untrue", "unknown", "second_tries", "errors")
        assert [way["scores"][key] for key in wrong] == [0] * len(wrong)
    raw, client = server.requests[: len(ASKED)], server.requests[len(ASKED) :]
    assert all(set(request.body) == {"model", "messages", "seed"} for request in raw), "a bare call but for the seed"
    assert len({request.body["seed"] for request in raw}) == len(ASKED)
    assert all("stop" in request.body for request in client)
    assert len(client) == len(ASKED)
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["", "raw", "client"]
    assert ["passes every check", "100.00%", "100.00%"] in rows


@pytest.mark.parametrize("way", ["raw", "client"])
def test_grid_one_way_only(way: str, tmp_path: Path) -> None:
    with scripted(right_answer) as server:
        assert list(evaluate(server.url, tmp_path / "report.json", "--only", way)) == [way]
    assert len(server.requests) == len(ASKED)


def test_grid_counts_what_a_bad_model_says(tmp_path: Path) -> None:
    with scripted(saying("출력:", finish="length")) as server:
        report = evaluate(server.url, tmp_path / "report.json")
    raw, client = (report[way]["scores"] for way in ("raw", "client"))
    assert (raw["labels"], raw["passes"], raw["stopped"], raw["errors"]) == (1.0, 0.0, 0.0, 0)
    assert (client["labels"], client["passes"], client["errors"]) == (0.0, 0.0, len(ASKED))
    assert len(server.requests) == len(ASKED) * (1 + MAX_SAMPLES)


@pytest.mark.parametrize(("options", "shown"), [((), False), (("--words", "open"), True)], ids=["strict", "open"])
def test_grid_treats_new_words_as_it_is_told(options: tuple[str, ...], shown: bool, tmp_path: Path) -> None:
    def with_a_new_word(request: Request) -> Reply:
        text = json.loads(right_answer(request).body)["choices"][0]["message"]["content"]
        return saying(text.replace(". ", ". 훨훨 "))

    with scripted(with_a_new_word) as server:
        report = evaluate(server.url, tmp_path / "report.json", "--sign", "scroll:100", *options)
    assert report["raw"]["scores"]["unknown"] == 1.0
    assert report["raw"]["scores"]["passes"] > 0, "alone, a new word fails no check"
    assert (report["client"]["scores"]["errors"] < len(ASKED)) is shown


@pytest.mark.parametrize(
    "options", [["--every", "0"], ["--every", "x"], ["--only", "both"], ["--words", "some"], ["--loud"]], ids=" ".join
)
def test_wrong_usage_exits_with_2(options: list[str]) -> None:
    assert run_room("evaluation", "grid", *options).returncode == 2


def test_a_server_fault_is_an_error_not_a_traceback() -> None:
    with scripted(Reply("{}", status=401)) as server:
        with pytest.raises(ServerFailed, match="answered 401"):
            app(["grid", "--only=raw", "--every=2000", "--url", server.url], standalone_mode=False)
        done = run_room("evaluation", "grid", "--only=raw", "--every=2000", "--url", server.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")


def test_an_unwritable_output_file_is_rejected_before_any_request(tmp_path: Path) -> None:
    with scripted(right_answer) as server:
        done = run_room("evaluation", "grid", "--url", server.url, "--out", str(tmp_path))
    assert (done.returncode, server.requests) == (1, [])
    assert "cannot be written" in done.stderr
