"""`python -m clients` against a scripted endpoint: output, exit codes, and scores counted by hand."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.scripted_server import GOOD, LABELLED, Reply, right_answer, saying, scripted
from clients.__main__ import main
from clients.client import MAX_SAMPLES
from core.ports import free_port
from core.prompt import build_messages
from core.reading import Reading
from tests.conftest import ROOT


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
        (["--help"], ["say", "ping"]),
        (["say", "--help"], ["--url", "--json", "--season", "--elements", "벤치"]),
        (["ping", "--help"], ["--fingerprint"]),
    ],
    ids=["room", "say", "ping"],
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
def test_negative_temperatures_are_not_options(
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
        (["ping", "10"]),
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert "usage: python -m clients" in err


@pytest.mark.parametrize("command", [["say", "10", "20"], ["ping"]], ids=" ".join)
@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply("{}", status=401), "answered 401"),
        (Reply("<h1>hi</h1>", content_type="text/html"), "not a chat completion"),
        (Reply('{"choices": []}'), "not a chat completion"),
        (Reply('{"choices'), "not a chat completion"),
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


@pytest.mark.parametrize("temperature", ["nan", "inf", "-inf", "-Infinity", "99", "-51", "46", "-16"])
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


def test_json_tells_the_scene(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--season", "여름", "--elements", "산책로,분수대"]
    with scripted(saying(GOOD)) as server:
        assert main(["say", "10", "20", "--json", "--url", server.url, *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scene"] == {"season": "여름", "elements": ["산책로", "분수대"]}


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted(saying(LABELLED), saying(GOOD)) as server:
        code = main(["say", "10", "20", "--json", "--url", server.url])
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["text"], told["tries"], told["reading"]) == (GOOD, 2, {"yesterday": 10, "today": 20})
    assert (told["scene"], told["unknown"]) == (None, [])
    assert told["seconds"] > 0
    assert [rejected["text"] for rejected in told["rejected"]] == [LABELLED]
    assert "label" in [problem["problem"] for problem in told["rejected"][0]["problems"]]
    assert GOOD in out, "Korean is printed as it is"
