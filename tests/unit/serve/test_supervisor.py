"""The supervisor: what keeps dying is given up, what dies now and then is not; the gateway gets the recipe's keys."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gateway.__main__
import serve.__main__
from core.errors import ServiceError
from core.ports import free_port
from core.problem import Words
from gateway.settings import GatewaySettings
from pipeline.recipe import ServeSection
from serve.launch import Prepared
from serve.process import ModelServer
from serve.settings import ServeSettings
from serve.supervisor import DEATHS, WITHIN, Deaths, GatewayProcess
from tests.conftest import ROOT


class Clock:
    """Seconds that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_process_that_keeps_dying_is_not_restarted() -> None:
    clock = Clock()
    deaths = Deaths("vLLM", Path("log"), clock)
    for _ in range(DEATHS - 1):
        deaths.count(1)
        clock.now += WITHIN / DEATHS
    with pytest.raises(ServiceError, match="vLLM ended 5 times within 600 s, the last time with code -9"):
        deaths.count(-9)


def test_a_process_that_dies_now_and_then_is_always_restarted() -> None:
    clock = Clock()
    deaths = Deaths("vLLM", Path("log"), clock)
    for _ in range(10 * DEATHS):
        deaths.count(1)
        clock.now += WITHIN / (DEATHS - 1)  # the fifth is WITHIN after the first
    deaths.count(1)
    with pytest.raises(ServiceError):  # one too soon
        deaths.count(1)


def test_deaths_of_long_ago_do_not_count() -> None:
    clock = Clock()
    deaths = Deaths("vLLM", Path("log"), clock)
    for _ in range(DEATHS - 1):
        deaths.count(1)
    clock.now += WITHIN
    for _ in range(DEATHS - 1):
        deaths.count(1)
    with pytest.raises(ServiceError):
        deaths.count(1)


def started_with(process: GatewayProcess, monkeypatch: pytest.MonkeyPatch) -> GatewaySettings:
    """Give a gateway process's command to the gateway's own command line; return what it would run with."""
    ran: list[GatewaySettings] = []
    monkeypatch.setattr("gateway.server.run_gateway", ran.append)
    python, flag, room, *arguments = process._command
    assert (Path(python).name.startswith("python"), flag, room) == (True, "-m", "gateway")
    done = CliRunner().invoke(gateway.__main__.app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return ran[0]


def test_the_gateway_process_gets_address_and_model_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    settings = GatewaySettings(host="localhost", port=8123)
    recipe = ServeSection(model_name="park-writer")
    process = GatewayProcess(settings, "http://127.0.0.1:9/v1", recipe, tmp_path / "log")
    found = started_with(process, monkeypatch)
    assert (found.host, found.port) == ("localhost", 8123)
    assert (found.model_url, found.model_name) == ("http://127.0.0.1:9/v1", "park-writer")


@pytest.mark.parametrize("words", Words)
def test_the_gateway_process_treats_new_words_as_the_recipe_says(
    words: Words, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    process = GatewayProcess(GatewaySettings(), "http://127.0.0.1:9/v1", ServeSection(words=words), tmp_path / "log")
    assert started_with(process, monkeypatch).words is words


def test_the_stack_gives_the_gateway_the_recipes_model_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGNBOARD_GATEWAY_PORT", str(free_port()))
    monkeypatch.setenv("SIGNBOARD_GATEWAY_PARKS", str(ROOT / "parks"))
    model = ModelServer(["true"], {}, "park-writer", ServeSettings(port=8124), tmp_path / "log")
    supervised: list[tuple[ModelServer, GatewayProcess]] = []
    monkeypatch.setattr("serve.__main__.prepare", lambda *_, **__: Prepared(model, tmp_path, ""))
    monkeypatch.setattr("serve.__main__.supervise", lambda server, process, _tell: supervised.append((server, process)))
    arguments: list[Any] = ["stack", "--recipe", ROOT / "recipes/nano.yaml", "--set", "serve.model_name=park-writer"]
    arguments += ["--set", "serve.words=open"]
    done = CliRunner().invoke(serve.__main__.app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    ((server, process),) = supervised
    found = started_with(process, monkeypatch)
    assert (found.model_name, found.model_url, found.words) == ("park-writer", server.url, Words.OPEN)
