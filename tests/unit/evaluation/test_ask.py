"""Asking many cases over real HTTP: each has a seed of its own, the same one when it is repeated, and its own scene."""

import asyncio
from collections import Counter

import pytest

from benchmarks.scripted_server import GOOD, ScriptedServer, right_answer, saying, scripted
from core.park import Scene
from core.problem import Words
from core.prompt import build_messages, user_text
from core.reading import Reading
from evaluation.ask import ask_client, ask_raw

ASKED = [
    (Reading(10, 20), None),
    (Reading(35, 22), Scene.of("여름", ["산책로", "분수대"])),
    (Reading(-5, 8), Scene.of("겨울", ["벤치"])),
]
ROUNDS = 3
CASES = [(number, *case) for number in range(ROUNDS) for case in ASKED]
NEW_WORD = GOOD.replace("들고", "들고 훨훨")


def asked(server: ScriptedServer) -> Counter[str]:
    """Return how often each prompt arrived."""
    return Counter(request.body["messages"][-1]["content"] for request in server.requests)


def prompts(times: int) -> Counter[str]:
    return Counter({user_text(*case): times for case in ASKED})


def test_every_round_asks_every_reading_with_a_seed_of_its_own() -> None:
    with scripted(right_answer) as server:
        answers = asyncio.run(ask_raw(CASES, server.url, "signboard", "none"))
    seeds = [request.body["seed"] for request in server.requests]
    assert len(set(seeds)) == len(seeds) == len(CASES), "one sample counted thrice is no three rounds"
    assert asked(server) == prompts(ROUNDS)
    assert [(answer.seed, answer.reading, answer.scene) for answer in answers] == CASES
    assert [answer.problems() for answer in answers] == [[]] * len(CASES)


def test_a_run_that_is_repeated_asks_with_the_same_seeds() -> None:
    seen: list[set[tuple[str, int]]] = []
    for _ in range(2):
        with scripted(right_answer) as server:
            asyncio.run(ask_raw(CASES, server.url, "signboard", "none"))
        bodies = [request.body for request in server.requests]
        seen.append({(body["messages"][-1]["content"], body["seed"]) for body in bodies})
    assert seen[0] == seen[1]
    assert len(seen[0]) == len(CASES)


@pytest.mark.parametrize("case", CASES[:2], ids=["plain", "in a park"])
def test_raw_is_a_bare_call_without_stop_limit_or_second_try(case: tuple[int, Reading, Scene | None]) -> None:
    with scripted(right_answer) as server:
        asyncio.run(ask_raw([case], server.url, "park-writer", "none", temperature=0.25))
    (request,) = server.requests
    _, reading, scene = case
    assert request.body == {
        "model": "park-writer",
        "messages": build_messages(reading, scene),
        "seed": 0,
        "temperature": 0.25,
    }


def test_the_client_is_asked_once_a_round_and_its_answers_are_numbered_by_round() -> None:
    with scripted(right_answer) as server:
        answers = asyncio.run(ask_client(CASES, server.url, "signboard", "none"))
    assert asked(server) == prompts(ROUNDS)
    assert [(answer.seed, answer.reading, answer.scene) for answer in answers] == CASES
    assert [answer.problems() for answer in answers] == [[]] * len(CASES)


@pytest.mark.parametrize(("words", "text"), [(Words.STRICT, ""), (Words.OPEN, NEW_WORD)], ids=["strict", "open"])
def test_the_client_is_told_how_to_treat_new_words(words: Words, text: str) -> None:
    with scripted(saying(NEW_WORD)) as server:
        (answer,) = asyncio.run(ask_client(CASES[:1], server.url, "signboard", "none", words=words))
    assert answer.text == text
