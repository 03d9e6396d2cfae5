"""Asking many readings over real HTTP: every round has seeds of its own, and the same ones when it is repeated."""

import asyncio
from collections import Counter

from benchmarks.scripted_server import ScriptedServer, right_answer, scripted
from core.prompt import build_messages
from core.reading import Reading
from evaluation.ask import ask_client, ask_raw

READINGS = [Reading(10, 20), Reading(35, 22), Reading(-5, 8)]
ROUNDS = 3


def asked(server: ScriptedServer) -> Counter[str]:
    """Return how often each prompt arrived."""
    return Counter(request.body["messages"][-1]["content"] for request in server.requests)


def prompts(times: int) -> Counter[str]:
    return Counter({build_messages(reading)[-1]["content"]: times for reading in READINGS})


def test_every_round_asks_every_reading_with_a_seed_of_its_own() -> None:
    with scripted(right_answer) as server:
        answers = asyncio.run(ask_raw(READINGS, server.url, "signboard", "none", rounds=ROUNDS))
    seeds = [request.body["seed"] for request in server.requests]
    assert len(set(seeds)) == len(seeds) == ROUNDS * len(READINGS), "one sample counted thrice is no three rounds"
    assert asked(server) == prompts(ROUNDS)
    assert [(answer.reading, answer.seed) for answer in answers] == [
        (reading, number) for number in range(ROUNDS) for reading in READINGS
    ]


def test_a_run_that_is_repeated_asks_with_the_same_seeds() -> None:
    seen: list[set[tuple[str, int]]] = []
    for _ in range(2):
        with scripted(right_answer) as server:
            asyncio.run(ask_raw(READINGS, server.url, "signboard", "none", rounds=ROUNDS))
        bodies = [request.body for request in server.requests]
        seen.append({(body["messages"][-1]["content"], body["seed"]) for body in bodies})
    assert seen[0] == seen[1]
    assert len(seen[0]) == ROUNDS * len(READINGS)


def test_raw_is_a_bare_call_without_stop_limit_or_second_try() -> None:
    with scripted(right_answer) as server:
        asyncio.run(ask_raw(READINGS[:1], server.url, "park-writer", "none", temperature=0.25))
    (request,) = server.requests
    assert request.body == {
        "model": "park-writer",
        "messages": build_messages(READINGS[0]),
        "seed": 0,
        "temperature": 0.25,
    }


def test_the_client_is_asked_once_a_round_and_its_answers_are_numbered_by_round() -> None:
    with scripted(right_answer) as server:
        answers = asyncio.run(ask_client(READINGS, server.url, "signboard", "none", rounds=ROUNDS))
    assert asked(server) == prompts(ROUNDS)
    assert Counter(answer.seed for answer in answers) == dict.fromkeys(range(ROUNDS), len(READINGS))
