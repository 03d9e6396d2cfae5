"""`python -m clients` against a scripted endpoint: output, exit codes, and scores counted by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clients.__main__ import main
from clients.client import MAX_SAMPLES
from clients.evaluation.scores import ROWS, Answer, score, table
from data.prompt import build_messages
from data.reading import Reading, usual_grid
from tests.scripted_server import GOOD, LABELLED, Reply, free_port, right_answer, saying, scripted

ROOT = Path(__file__).parents[1]
EVERY = 500
ASKED = list(usual_grid())[::EVERY]


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGNBOARD_")}
    return subprocess.run(
        [sys.executable, "-m", "clients", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--help"], ["say", "evaluate"]),
        (["say", "--help"], ["--url", "--json"]),
        (["evaluate", "--help"], ["--every"]),
    ],
    ids=["room", "say", "evaluate"],
)
def test_help(arguments: list[str], named: list[str]) -> None:
    done = run_module(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in named)


def test_say_prints_the_message_and_nothing_else() -> None:
    with scripted(saying(LABELLED), saying(GOOD)) as server:
        done = run_module("say", "10", "20", "--url", server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, GOOD + "\n", "")


def test_without_a_server_two_lines_say_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    done = run_module("say", "10", "20", "--url", url)
    assert (done.returncode, done.stdout) == (1, "")
    what, todo = done.stderr.splitlines()
    assert what.startswith("error: ")
    assert url in what
    assert "make serve" in todo


@pytest.mark.parametrize(
    ("yesterday", "today", "reading"),
    [
        ("-5", "8", Reading(-5, 8)),
        ("-12", "-3.5", Reading(-12, -4)),
        ("-.4", "+3", Reading(0, 3)),
        ("-1e-05", "3", Reading(0, 3)),  # how Python writes -0.00001
        ("-5.", "3", Reading(-5, 3)),
    ],
)
def test_negative_temperatures_are_no_options(
    yesterday: str, today: str, reading: Reading, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted(right_answer) as server:
        code = main(["say", yesterday, today, "--url", server.url])
    assert (code, capsys.readouterr().err) == (0, "")
    assert [request.body["messages"] for request in server.requests] == [build_messages(reading)]


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["sing"], ["say"], ["say", "10"], ["say", "10", "warm"], ["say", "10", "20", "30"]),
        *(["say", "10", "20", "--loud"], ["say", "10", "20", "--deadline", "soon"]),
        *(["evaluate", "--every", "0"], ["evaluate", "--every", "x"], ["evaluate", "--only", "both"]),
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert "usage: python -m clients" in err


@pytest.mark.parametrize("command", [["say", "10", "20"], ["evaluate", "--only=raw", "--every=2000"]], ids=" ".join)
@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply("{}", status=401), "answered 401"),
        (Reply("<h1>hi</h1>", content_type="text/html"), "no chat completion"),
        (Reply('{"choices": []}'), "no chat completion"),
        (Reply('{"choices'), "no chat completion"),
    ],
    ids=["401", "HTML", "no choices", "broken JSON"],
)
def test_a_server_fault_is_an_error_not_a_traceback(
    command: list[str], reply: Reply, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted(reply) as server:
        code = main([*command, "--url", server.url])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert told in err


@pytest.mark.parametrize("temperature", ["nan", "inf", "-inf", "-Infinity", "99", "-51"])
def test_an_unusable_temperature_is_an_error_and_not_sent(temperature: str, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(saying(GOOD)) as server:
        code = main(["say", "10", temperature, "--url", server.url])
    out, err = capsys.readouterr()
    assert (code, out, server.requests) == (1, "", [])
    assert err.startswith("error: today is ")


def test_no_message_is_an_error_with_nothing_for_the_board(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(saying(LABELLED)) as server:
        code = main(["say", "10", "20", "--url", server.url])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.startswith(f"error: None of {MAX_SAMPLES} messages")


def test_the_deadline_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(saying(GOOD, delay=60)) as server:
        code = main(["say", "10", "20", "--url", server.url, "--deadline", "0.3"])
    assert code == 1
    assert "within 0.3 s" in capsys.readouterr().err


def test_an_empty_api_key_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("SIGNBOARD_API_KEY", "")  # as an unset variable of docker-compose.yml arrives
    with scripted(saying(GOOD)) as server:
        assert main(["say", "10", "20", "--url", server.url]) == 0
    assert capsys.readouterr().out == GOOD + "\n"


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/v1", "127.0.0.1:8000/v1", "http://[", "gopher://park/v1"])
def test_an_impossible_address_is_an_error_not_a_traceback(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["say", "10", "20", "--url", url])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.startswith("error: ")


HOT = "어제보다 36도 올라 매우 덥습니다. 나무 그늘 아래서 잠시 쉬어가세요."


def test_a_warning_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(saying(HOT)) as server:
        code = main(["say", "10", "46", "--url", server.url])
    out, err = capsys.readouterr()
    assert (code, out) == (0, HOT + "\n")
    assert [line.split(":")[0] for line in err.splitlines()] == ["warning", "warning"]
    assert "46 °C is outside" in err
    assert "+36 °C" in err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(saying(LABELLED), saying(HOT)) as server:
        code = main(["say", "10", "46", "--json", "--url", server.url])
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["text"], told["tries"], told["reading"]) == (HOT, 2, {"yesterday": 10, "today": 46})
    assert len(told["warnings"]) == 2
    assert told["seconds"] > 0
    assert [rejected["text"] for rejected in told["rejected"]] == [LABELLED]
    assert "label" in [problem["problem"] for problem in told["rejected"][0]["problems"]]
    assert HOT in out, "Korean is printed as it is"


def evaluate(url: str, out: Path, *options: str) -> dict[str, Any]:
    assert main(["evaluate", f"--every={EVERY}", "--url", url, "--out", str(out), *options]) == 0
    report: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return report


def test_evaluate_asks_raw_and_through_the_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(right_answer) as server:
        report = evaluate(server.url, tmp_path / "new" / "report.json")
    assert list(report) == ["raw", "client"]
    for way in report.values():
        assert [Reading(**answer["reading"]) for answer in way["answers"]] == ASKED
        assert way["scores"]["answers"] == len(ASKED) == 6
        perfect = ("right", "stopped", "one_line", "fits_temperature", "passes")
        assert [way["scores"][key] for key in perfect] == [1.0] * len(perfect)
        assert [way["scores"][key] for key in ("labels", "second_tries", "errors")] == [0, 0, 0]
    raw, client = server.requests[: len(ASKED)], server.requests[len(ASKED) :]
    assert all(set(request.body) == {"model", "messages", "seed"} for request in raw), "a bare call but for the seed"
    assert len({request.body["seed"] for request in raw}) == len(ASKED)
    assert all({"stop", "max_tokens"} <= set(request.body) for request in client)
    assert len(client) == len(ASKED)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| | raw | client |"
    assert "| passes every check | 100.00% | 100.00% |" in lines


@pytest.mark.parametrize("way", ["raw", "client"])
def test_evaluate_one_way_only(way: str, tmp_path: Path) -> None:
    with scripted(right_answer) as server:
        assert list(evaluate(server.url, tmp_path / "report.json", "--only", way)) == [way]
    assert len(server.requests) == len(ASKED)


def test_evaluate_counts_what_a_bad_model_says(tmp_path: Path) -> None:
    with scripted(saying("출력:", finish="length")) as server:
        report = evaluate(server.url, tmp_path / "report.json")
    raw, client = (report[way]["scores"] for way in ("raw", "client"))
    assert (raw["labels"], raw["passes"], raw["stopped"], raw["errors"]) == (1.0, 0.0, 0.0, 0)
    assert (client["labels"], client["passes"], client["errors"]) == (0.0, 0.0, len(ASKED))
    assert len(server.requests) == len(ASKED) * (1 + MAX_SAMPLES)


RISE, FALL, SAME = Reading(10, 20), Reading(35, 22), Reading(20, 20)
# What is wrong with each is counted by hand in the table below.
ANSWERS = {
    "perfect": Answer(RISE, GOOD, "stop", 1),
    "perfect at the second try": Answer(
        FALL, "어제보다 13도 낮아져 시원해졌습니다. 벤치에서 여유를 즐기세요.", "stop", 2
    ),
    "perfect without a number": Answer(SAME, "어제와 같은 기온으로 쾌적합니다. 벤치에서 여유를 즐기세요.", "stop", 1),
    "label": Answer(RISE, "전광판 " + GOOD, "stop", 1),
    "wrong number": Answer(RISE, GOOD.replace("10도", "11도"), "stop", 1),
    "wrong direction": Answer(RISE, GOOD.replace("올라", "떨어져"), "stop", 1),
    "cut off": Answer(RISE, GOOD, "length", 1),
    "one sentence, cut off": Answer(FALL, "어제보다 13도 낮아져 시원해졌습니다.", "length", 1),
    "two lines": Answer(RISE, GOOD.replace(". ", ".\n"), "stop", 1),
    "a hot day's words at 20 °C": Answer(RISE, "어제보다 10도 올라 무덥습니다. 분수대 근처가 시원합니다.", "stop", 1),
    "no message": Answer(RISE, "", "error", 0),
}
COUNTS = {  # of the 11 answers
    "right": 8,  # not: wrong number, wrong direction, no message
    "labels": 1,
    "stopped": 8,  # not: the two cut off, no message
    "one_line": 8,  # not: one sentence, two lines, no message
    "fits_temperature": 8,  # not: one sentence, the hot day's words, no message
    "passes": 3,
    "distinct": 9,  # the perfect text comes twice, once cut off; no message has no text
    "commonest_activity": 6,  # the flower path: perfect, label, number, direction, cut off, two lines
}


@pytest.mark.parametrize(("key", "count"), COUNTS.items())
def test_scores_are_what_one_counts_by_hand(key: str, count: int) -> None:
    assert getattr(score(list(ANSWERS.values())), key) == count / 11


def test_whole_numbers_among_the_scores() -> None:
    scores = score(list(ANSWERS.values()))
    # 꽃길, 벤치, 분수대
    assert (scores.answers, scores.elements, scores.second_tries, scores.errors) == (11, 3, 1, 1)


@pytest.mark.parametrize(("name", "good"), [(name, name.startswith("perfect")) for name in ANSWERS])
def test_only_a_perfect_answer_passes(name: str, good: bool) -> None:
    assert score([ANSWERS[name]]).passes == good


def test_the_table_shows_every_score() -> None:
    lines = table({"raw": score(list(ANSWERS.values())), "client": score([ANSWERS["perfect"]])}).splitlines()
    assert lines[1] == "|---|---|---|"
    assert "| labels or markers | 9.09% | 0.00% |" in lines
    assert "| no message | 1 | 0 |" in lines
    assert len(lines) == 2 + len(ROWS)
