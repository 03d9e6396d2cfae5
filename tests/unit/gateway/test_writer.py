"""The writer: whose fault a late request is, what the client is asked for, and who shares a request."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from opentelemetry.trace import NoOpTracer

from benchmarks.scripted_server import GOOD
from clients import AsyncSignboardClient, SignMessage
from core.errors import ServerTimeout, ServerUnavailable, ServiceError
from core.park import Element, Park, Scene
from core.problem import Words
from core.reading import Reading
from core.sign import Sign
from gateway.boards import Boards
from gateway.metrics import Metrics
from gateway.overload import Breaker, Queue
from gateway.settings import GatewaySettings
from gateway.traces import Traces
from gateway.writer import Asked, Writer, new_client

SETTINGS = GatewaySettings(deadline=10, failures=1)
READING = Reading(10, 20)
PARK = Park("공원", (Element("산책로"), Element("분수대", frozenset({7}))), Sign.parse("40x1"))
ASKED = Asked(READING, Scene.of("봄", ["산책로"]), PARK)


class Model:
    """A client whose model fails in one way, or answers."""

    def __init__(self, fault: ServiceError | None = None) -> None:
        self.fault = fault
        self.deadlines: list[float] = []
        self.asked: list[tuple[Any, ...]] = []

    async def say(
        self, yesterday: float, today: float, *, scene: Scene, sign: Sign, deadline: float, **more: Any
    ) -> SignMessage:
        self.deadlines.append(deadline)
        self.asked.append((yesterday, today, scene, sign, more["temperature"], more["request_id"]))
        if self.fault:
            raise self.fault
        return SignMessage(GOOD, READING, scene, 1, 0.1)


def writer_of(model: Model, breaker: Breaker) -> Writer:
    boards = Boards(SETTINGS.parsed_sign, 60, 10, ai_mark=True)
    return Writer(SETTINGS, cast(AsyncSignboardClient, model), boards, Queue(9, 9), breaker, Metrics(), NoOpTracer())


async def _never() -> None:
    raise ServiceError("down")


def breaker_after(waited: float, model: Model, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Ask once, after so many seconds in the queue; return whether the breaker is open."""
    moments = iter([0.0, waited])
    monkeypatch.setattr("gateway.writer.time", SimpleNamespace(monotonic=lambda: next(moments)))

    async def ask() -> bool:
        breaker = Breaker(_never, SETTINGS.failures, 60)
        with suppress(ServiceError):
            await writer_of(model, breaker).write(ASKED, None, "id")
        opened = breaker.open
        await breaker.close()
        return opened

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("waited", "fault", "opens"),
    [
        pytest.param(1, ServerTimeout("late"), True, id="slow though it had time"),
        pytest.param(6, ServerTimeout("late"), False, id="slow after a long wait: the queue's fault"),
        pytest.param(6, ServerUnavailable("gone"), True, id="gone after a long wait"),
        pytest.param(1, None, False, id="answers"),
    ],
)
def test_a_request_that_waited_long_in_the_queue_does_not_open_the_breaker_by_its_deadline(
    waited: float, fault: ServiceError | None, opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(fault)
    assert breaker_after(waited, model, monkeypatch) is opens
    assert model.deadlines == [10 - waited], "the model gets what is left"


def test_a_request_whose_deadline_passed_in_the_queue_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    assert not breaker_after(10, model, monkeypatch)
    assert model.deadlines == []


def test_a_silent_connection_is_retried_after_a_third_of_the_deadline() -> None:
    async def patience() -> object:
        async with new_client(GatewaySettings(deadline=9), Traces("")) as client:
            return client._openai.timeout

    assert asyncio.run(patience()) == 3


def test_the_client_is_asked_for_the_scene_on_the_parks_sign() -> None:
    model = Model()

    async def ask() -> None:
        writer = writer_of(model, Breaker(_never, SETTINGS.failures, 60))
        await writer.write(replace(ASKED, temperature=0.0), None, "park-7")

    asyncio.run(ask())
    assert model.asked == [(10, 20, ASKED.scene, PARK.sign, 0.0, "park-7")]


@pytest.mark.parametrize(
    ("other", "requests"),
    [
        pytest.param(ASKED, 1, id="the same"),
        pytest.param(replace(ASKED, reading=Reading(10, 21)), 2, id="another reading"),
        pytest.param(replace(ASKED, scene=Scene.of("여름", ["산책로"])), 2, id="another season"),
        pytest.param(replace(ASKED, scene=Scene.of("봄", ["산책로", "벤치"])), 2, id="other elements"),
        pytest.param(replace(ASKED, park=replace(PARK, sign=Sign.parse("20x2"))), 2, id="another sign"),
        pytest.param(replace(ASKED, temperature=0.0), 2, id="another sampling temperature"),
    ],
)
def test_only_what_is_asked_for_alike_on_one_board_shares_a_request(other: Asked, requests: int) -> None:
    model = Model()

    async def ask() -> None:
        writer = writer_of(model, Breaker(_never, SETTINGS.failures, 60))
        await asyncio.gather(*(writer.write(asked, "lake", "id") for asked in (ASKED, other)))

    asyncio.run(ask())
    assert len(model.asked) == requests


@pytest.mark.parametrize("words", Words)
def test_the_settings_say_how_new_words_are_treated(words: Words) -> None:
    async def treated() -> Words:
        async with new_client(GatewaySettings(words=words), Traces("")) as client:
            return client._words

    assert asyncio.run(treated()) is words
