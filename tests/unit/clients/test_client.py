"""The client's options over real HTTP: what is said for one message comes before what was said for all."""

import asyncio
from typing import Any

import pytest

from benchmarks.scripted_server import GOOD, Request, completion, saying, scripted
from benchmarks.scripted_server import Reply as Answer
from clients import AsyncSignboardClient
from core.errors import PromptMismatch, ServerTimeout
from core.prompt import fingerprint

IDS = [5, 7, 11]


def sent(client: dict[str, Any], message: dict[str, Any]) -> Request:
    """Ask for one message; return the request that arrived."""

    async def ask(url: str) -> None:
        async with AsyncSignboardClient(url, **client) as opened:
            await opened.say(10, 20, **message)

    with scripted(saying(GOOD)) as server:
        asyncio.run(ask(server.url))
    (request,) = server.requests
    return request


@pytest.mark.parametrize(
    ("of_client", "of_message", "temperature"),
    [
        ({}, {}, None),
        ({"temperature": 0.7}, {}, 0.7),
        ({"temperature": 0.7}, {"temperature": 0.2}, 0.2),
        ({"temperature": 0.7}, {"temperature": 0.0}, 0.0),  # greedy is a temperature, too
        ({"temperature": 0.0}, {}, 0.0),
        ({}, {"temperature": 0.0}, 0.0),
    ],
    ids=str,
)
def test_a_messages_temperature_comes_before_the_clients_and_zero_is_one(
    of_client: dict[str, Any], of_message: dict[str, Any], temperature: float | None
) -> None:
    assert sent(of_client, of_message).body.get("temperature") == temperature


def test_the_request_id_is_sent() -> None:
    assert sent({}, {"request_id": "park-7"}).headers["x-request-id"] == "park-7"


def test_a_messages_deadline_comes_before_the_clients() -> None:
    async def ask(url: str) -> None:
        async with AsyncSignboardClient(url, deadline=60) as client:
            await client.say(10, 20, deadline=0.1)

    with scripted(saying(GOOD, delay=60)) as server, pytest.raises(ServerTimeout, match=r"within 0\.1 s"):
        asyncio.run(ask(server.url))


def test_a_fingerprint_that_did_not_fit_is_checked_again_before_the_next_message() -> None:
    """A mismatch must not be remembered as proven: the second message would be shown."""

    async def ask(url: str) -> list[bool]:
        refused = []
        async with AsyncSignboardClient(url) as client:
            for _ in range(2):
                try:
                    await client.say(10, 20)
                except PromptMismatch:
                    refused.append(True)
        return refused

    wrong = Answer(completion(GOOD, system_fingerprint=fingerprint(IDS), prompt_token_ids=[5, 7, 12]))
    with scripted(wrong) as server:
        assert asyncio.run(ask(server.url)) == [True, True]
