"""The client's options over real HTTP: what is said for one message comes before what was said for all."""

import asyncio
from typing import Any

import pytest

from benchmarks.scripted_server import GOOD, Request, completion, saying, scripted
from benchmarks.scripted_server import Reply as Answer
from clients import AsyncSignboardClient, SignMessage
from core.errors import MessageError, PromptMismatch, ServerTimeout
from core.park import Scene
from core.problem import Problem, Words
from core.prompt import build_messages, fingerprint
from core.reading import Reading
from core.sign import Sign

IDS = [5, 7, 11]
NEW_WORD = GOOD.replace("들고", "들고 훨훨")
NARROW = Sign.parse("14x2")  # too narrow for GOOD


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


def say(reply: str, client: dict[str, Any], message: dict[str, Any]) -> SignMessage | set[Problem]:
    """Ask once for a message; return it, or the problems for which it was rejected."""

    async def ask(url: str) -> SignMessage:
        async with AsyncSignboardClient(url, max_samples=1, **client) as opened:
            return await opened.say(10, 20, **message)

    with scripted(saying(reply)) as server:
        try:
            return asyncio.run(ask(server.url))
        except MessageError as error:
            return {found.problem for sample in error.rejected for found in sample.problems}


@pytest.mark.parametrize("scene", [None, Scene.of("가을", ["산책로", "온실"])], ids=["plain", "in a park"])
def test_a_scene_is_in_the_prompt_and_in_the_message(scene: Scene | None) -> None:
    assert sent({}, {"scene": scene}).body["messages"] == build_messages(Reading(10, 20), scene)
    found = say(GOOD, {}, {"scene": scene})
    assert isinstance(found, SignMessage)
    assert found.scene == scene


def test_a_message_is_checked_against_its_scene() -> None:
    bench = "기온이 어제보다 10도 올라 포근합니다. 벤치에 앉아 읽던 책을 펼쳐 보세요."
    assert isinstance(say(bench, {}, {}), SignMessage), "a bench is in every park"
    assert say(bench, {}, {"scene": Scene.of("봄", ["산책로"])}) == {Problem.ABSENT}


@pytest.mark.parametrize(
    ("of_client", "of_message", "fits"),
    [({}, None, True), ({"sign": NARROW}, None, False), ({}, NARROW, False), ({"sign": NARROW}, Sign(20, 2), True)],
    ids=["the default", "the client's", "the message's", "the message's comes first"],
)
def test_a_messages_sign_comes_before_the_clients(
    of_client: dict[str, Any], of_message: Sign | None, fits: bool
) -> None:
    found = say(GOOD, of_client, {"sign": of_message})
    assert isinstance(found, SignMessage) if fits else found == {Problem.WIDTH}


def test_new_words_are_rejected_or_named_as_the_client_is_told() -> None:
    assert say(NEW_WORD, {}, {}) == {Problem.UNKNOWN}
    shown = say(NEW_WORD, {"words": Words.OPEN}, {})
    assert isinstance(shown, SignMessage)
    assert (shown.text, shown.unknown) == (NEW_WORD, ("훨훨",))
    plain = say(GOOD, {"words": Words.OPEN}, {})
    assert isinstance(plain, SignMessage)
    assert plain.unknown == ()
    wrong = NEW_WORD.replace("10도", "11도")
    assert say(wrong, {"words": Words.OPEN}, {}) == {Problem.NUMBER}, "open to words, not to what contradicts the facts"


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
