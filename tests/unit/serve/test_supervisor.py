"""The supervisor: what keeps dying is given up, what dies now and then is not; the gateway gets the recipe's keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from vllm_router.launch_router import parse_router_args

import gateway.__main__
import serve.__main__
from core.errors import ServiceError
from core.ports import free_port
from core.problem import Words
from gateway.settings import GatewaySettings
from pipeline.recipe import Recipe, ServeSection
from serve.launch import Prepared
from serve.process import ModelServer
from serve.settings import ServeSettings
from serve.supervisor import DEATHS, WITHIN, Deaths, GatewayProcess, Part, RouterProcess, supervise
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


PROMPT = "signboard-prompt-1-01234567"  # the checkpoint's, not the code's
Supervised = tuple[list[ModelServer], list[Part]]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Supervised]:
    """Return a function that runs `serve stack` up to the supervision, without checkpoints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGNBOARD_GATEWAY_PORT", str(free_port()))
    monkeypatch.setenv("SIGNBOARD_GATEWAY_PARKS", str(ROOT / "parks"))
    monkeypatch.setenv("SIGNBOARD_ROUTER_PORT", str(free_port()))
    monkeypatch.setenv("SIGNBOARD_ROUTER_METRICS_PORT", str(free_port()))
    supervised: list[Supervised] = []

    def prepare_all(_recipe: Recipe, settings: ServeSettings, _variant: Any, **_: Any) -> list[Prepared]:
        ports = range(settings.port, settings.port + settings.servers)
        servers = [ModelServer(["true"], {}, "x", ServeSettings(port=port), tmp_path / "log") for port in ports]
        return [Prepared(server, tmp_path, "", PROMPT) for server in servers]

    monkeypatch.setattr("serve.__main__.prepare_all", prepare_all)
    monkeypatch.setattr("serve.__main__.supervise", lambda *args: supervised.append(args[:2]))

    def run(*options: str) -> Supervised:
        arguments = ["stack", "--recipe", str(ROOT / "recipes/nano.yaml"), *options]
        done = CliRunner().invoke(serve.__main__.app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return supervised[-1]

    return run


def gateway_of(parts: list[Part]) -> GatewayProcess:
    gateway = parts[-1]
    assert isinstance(gateway, GatewayProcess)
    return gateway


def test_the_stack_gives_the_gateway_the_prompts_name_and_the_recipes_words(
    stack: Callable[..., Supervised], monkeypatch: pytest.MonkeyPatch
) -> None:
    (server,), parts = stack("--set", "serve.words=open")
    assert len(parts) == 1, "one server needs no router"
    found = started_with(gateway_of(parts), monkeypatch)
    assert (found.model_name, found.model_url, found.words) == (PROMPT, server.url, Words.OPEN)


@pytest.mark.parametrize("variable", [False, True], ids=["option", "variable"])
def test_several_servers_get_a_router_and_the_gateway_asks_it(
    variable: bool, stack: Callable[..., Supervised], monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv("SIGNBOARD_SERVERS", "3")
    servers, parts = stack("--port", "8124", *([] if variable else ["--servers", "3"]))
    assert [server.url for server in servers] == [f"http://127.0.0.1:{port}/v1" for port in (8124, 8125, 8126)]
    router, gateway = parts
    assert isinstance(router, RouterProcess)
    found = parse_router_args(router._command[1:])
    assert found.worker_urls == [server.url.removesuffix("/v1") for server in servers]
    assert found.health_check_endpoint == f"/{PROMPT}/health"
    assert started_with(gateway_of(parts), monkeypatch).model_url == router.url
    assert gateway is parts[-1], "what faces the callers is stopped first"


class Dying(ModelServer):
    """A server that is ready at once, until `ends` says that it has ended, so many times."""

    def __init__(self, folder: Path, *, ends: int, starts: bool = True) -> None:
        super().__init__(["true"], {}, "x", ServeSettings(), folder / "log")
        self.launched = 0
        self._ends, self._starts = ends, starts

    def launch(self) -> None:
        self.launched += 1

    def ready(self) -> bool:
        if not self._starts:
            raise ServiceError("vLLM ended with code 1.", "See the log.")
        return True

    def ended(self) -> int | None:
        self._ends -= 1
        return 1 if self._ends >= 0 else None

    def stop(self) -> None: ...


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    """Return a part that only waits; pauses are left out."""
    monkeypatch.setattr("serve.supervisor.time.sleep", lambda _seconds: None)
    return Part("The gateway", ["sleep", "60"], "http://127.0.0.1:9", tmp_path / "part", 5)


def test_a_server_that_keeps_ending_is_given_up_and_the_others_go_on(tmp_path: Path, front: Part) -> None:
    told: list[str] = []
    broken, well = Dying(tmp_path, ends=99), Dying(tmp_path, ends=0)

    def tell(text: str) -> None:
        told.append(text)
        if "given up" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise([broken, well], [front], tell)
    assert (broken.launched, well.launched) == (DEATHS, 1)
    assert "vLLM ended 5 times within 600 s, the last time with code 1. It is given up; 1 left." in told[-1]


def test_the_last_server_that_keeps_ending_ends_the_supervision(tmp_path: Path, front: Part) -> None:
    with pytest.raises(ServiceError, match="vLLM ended 5 times"):
        supervise([Dying(tmp_path, ends=99)], [front], lambda _: None)


def test_a_first_start_that_fails_is_an_error_at_once(tmp_path: Path, front: Part) -> None:
    broken = Dying(tmp_path, ends=0, starts=False)
    with pytest.raises(ServiceError, match="vLLM ended with code 1"):
        supervise([Dying(tmp_path, ends=0), broken], [front], lambda _: None)
    assert broken.launched == 1
