"""The writer: whose fault a late request is, and that SDK routes and boards do not share it."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.scripted_server import GOOD
from clients import AsyncSignboardClient, SignMessage
from core.errors import ServerTimeout, ServerUnavailable, ServiceError
from core.reading import Reading
from gateway.boards import Boards
from gateway.metrics import Metrics
from gateway.overload import Breaker, Queue
from gateway.settings import GatewaySettings
from gateway.writer import Writer, new_client

SETTINGS = GatewaySettings(deadline=10, failures=1)
READING = Reading(10, 20)


class Model:
    """A client whose model fails in one way, or answers."""

    def __init__(self, fault: ServiceError | None = None) -> None:
        self.fault = fault
        self.deadlines: list[float] = []

    async def say(self, *_: Any, deadline: float, **__: Any) -> SignMessage:
        self.deadlines.append(deadline)
        if self.fault:
            raise self.fault
        return SignMessage(GOOD, READING, 1, 0.1)


async def _never() -> None:
    raise ServiceError("down")


def breaker_after(waited: float, model: Model, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Ask once, after so many seconds in the queue; return whether the breaker is open."""
    moments = iter([0.0, waited])
    monkeypatch.setattr("gateway.writer.time", SimpleNamespace(monotonic=lambda: next(moments)))

    async def ask() -> bool:
        breaker = Breaker(_never, SETTINGS.failures, 60)
        boards = Boards(SETTINGS.parsed_sign, 60, "Asia/Seoul", 1, ai_mark=True)
        client = cast(AsyncSignboardClient, model)
        writer = Writer(SETTINGS, client, boards, Queue(1, 1), breaker, Metrics())
        with suppress(ServiceError):
            await writer.write(READING, None, None, "id")
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
        async with new_client(GatewaySettings(deadline=9)) as client:
            return client._openai.timeout

    assert asyncio.run(patience()) == 3
