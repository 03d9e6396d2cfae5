"""The client against a scripted endpoint: its requests, rejected samples, and typed errors before the deadline."""

import asyncio
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol

import pytest

from benchmarks.scripted_server import (
    GOOD,
    LABELLED,
    Reply,
    completion,
    eventually,
    right_answer,
    saying,
    scripted,
)
from clients.client import MAX_SAMPLES, AsyncSignboardClient, SignboardClient, SignMessage
from core.errors import (
    BadAnswer,
    MessageError,
    PromptMismatch,
    ReadingError,
    ServerFailed,
    ServerTimeout,
    ServerUnavailable,
    SettingError,
)
from core.park import Scene
from core.ports import free_port
from core.problem import Problem, Words
from core.prompt import GOLDEN, STOP_MARKERS, build_messages, fingerprint
from core.reading import Reading

PATIENT = 20.0  # seconds, a deadline that only a hanging client reaches
SHORT, SHORT_BOUND = 0.5, 5.0  # a deadline, and what surely is too late for it


class Say(Protocol):
    """Ask for one message through one of the two clients."""

    def __call__(
        self, url: str, yesterday: Any = 10, today: Any = 20, scene: Scene | None = None, **options: Any
    ) -> SignMessage:
        """Open a client, ask, close it."""


def say_sync(url: str, yesterday: Any = 10, today: Any = 20, scene: Scene | None = None, **options: Any) -> SignMessage:
    with SignboardClient(url, **{"deadline": PATIENT, **options}) as client:
        return client.say(yesterday, today, scene=scene)


def say_async(
    url: str, yesterday: Any = 10, today: Any = 20, scene: Scene | None = None, **options: Any
) -> SignMessage:
    async def ask() -> SignMessage:
        async with AsyncSignboardClient(url, **{"deadline": PATIENT, **options}) as client:
            return await client.say(yesterday, today, scene=scene)

    return asyncio.run(ask())


@pytest.fixture(params=[say_sync, say_async], ids=["sync", "async"])
def say(request: pytest.FixtureRequest) -> Say:
    chosen: Say = request.param
    return chosen


def test_a_good_message_needs_one_try(say: Say) -> None:
    with scripted(saying(GOOD)) as server:
        message = say(server.url)
    assert (message.text, message.reading, message.tries) == (GOOD, Reading(10, 20), 1)
    assert message.rejected == ()
    assert 0 < message.seconds < PATIENT
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("bad", "problems"),
    [
        (saying(LABELLED), {Problem.LABEL, Problem.ALPHABET, Problem.UNKNOWN}),
        (saying(GOOD.replace("10도", "11도")), {Problem.NUMBER}),
        (saying(GOOD.replace("올라", "떨어져")), {Problem.DIRECTION}),
        (saying(GOOD.replace("들고", "들고 훨훨")), {Problem.UNKNOWN}),
        (saying(GOOD.replace("걸어", "분수대로 가")), {Problem.ABSENT, Problem.UNKNOWN}),
        (saying(GOOD, finish="length"), {Problem.UNFINISHED}),
        (saying(GOOD, finish=None), {Problem.UNFINISHED}),
        (saying(""), {Problem.EMPTY}),
        (saying(None), {Problem.EMPTY}),
    ],
)
def test_a_bad_sample_is_rejected_and_retried(say: Say, bad: Reply, problems: set[Problem]) -> None:
    with scripted(bad, saying(GOOD)) as server:
        message = say(server.url)
    assert (message.text, message.tries, len(server.requests)) == (GOOD, 2, 2)
    assert [{found.problem for found in rejected.problems} for rejected in message.rejected] == [problems]


def test_a_rejected_sample_is_kept_as_it_was(say: Say) -> None:
    with scripted(saying(LABELLED), saying(LABELLED, finish="length"), saying(GOOD)) as server:
        message = say(server.url)
    assert [rejected.text for rejected in message.rejected] == [LABELLED, LABELLED]
    assert {found.problem for found in message.rejected[1].problems} == {
        Problem.LABEL,
        Problem.ALPHABET,
        Problem.UNKNOWN,
        Problem.UNFINISHED,
    }


@pytest.mark.parametrize(
    ("bad", "told"),
    [(saying(LABELLED), "label"), (saying(GOOD, finish="length"), "length"), (saying(None), "empty")],
    ids=["labels", "cut off", "empty"],
)
def test_only_bad_samples_end_in_an_error_never_in_a_message(say: Say, bad: Reply, told: str) -> None:
    with scripted(bad) as server, pytest.raises(MessageError, match=told):
        say(server.url)
    assert len(server.requests) == MAX_SAMPLES == 4


def test_the_caller_sets_max_samples(say: Say) -> None:
    with scripted(saying(LABELLED)) as server, pytest.raises(MessageError):
        say(server.url, max_samples=2)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("options", "extra"), [({}, {}), ({"temperature": 0.2}, {"temperature": 0.2})], ids=["default", "temperature"]
)
@pytest.mark.parametrize("scene", [None, Scene.of("여름", ["산책로", "분수대"])], ids=["plain", "in a park"])
def test_the_request_has_path_key_and_body(
    say: Say, scene: Scene | None, options: dict[str, float], extra: dict[str, float]
) -> None:
    with scripted(saying(GOOD)) as server:
        assert say(server.url, scene=scene, model="board", api_key="secret", **options).scene == scene
    request = server.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer secret"
    assert request.body == {
        "model": "board",
        "messages": build_messages(Reading(10, 20), scene),
        "stop": list(STOP_MARKERS),
        **extra,
    }


JSON_ERROR = '{"error": {"message": "engine is dead", "code": 500}}'


@pytest.mark.parametrize(
    ("reply", "error", "requests"),
    [
        pytest.param(Reply(JSON_ERROR, status=500), ServerFailed, 2, id="500: the SDK retries once"),
        pytest.param(Reply(JSON_ERROR, status=503), ServerFailed, 2, id="503"),
        pytest.param(Reply(JSON_ERROR, status=404), ServerFailed, 1, id="404"),
        pytest.param(Reply(JSON_ERROR, status=401), ServerFailed, 1, id="401"),
        pytest.param(Reply("<h1>Bad gateway</h1>", 502, "text/html"), ServerFailed, 2, id="502 in HTML"),
        pytest.param(saying(GOOD, drop=True), ServerUnavailable, 2, id="dropped in the body"),
        pytest.param(Reply('{"choices": [{"mess'), BadAnswer, 1, id="broken JSON"),
        pytest.param(Reply(""), BadAnswer, 1, id="no body"),
        pytest.param(Reply("<h1>It works!</h1>", content_type="text/html"), BadAnswer, 1, id="HTML"),
        pytest.param(Reply("{}"), BadAnswer, 1, id="empty object"),
        pytest.param(Reply("[]"), BadAnswer, 1, id="list"),
        pytest.param(Reply("null"), BadAnswer, 1, id="null"),
        pytest.param(Reply('{"choices": []}'), BadAnswer, 1, id="no choices"),
        pytest.param(Reply('{"choices": null}'), BadAnswer, 1, id="choices null"),
        pytest.param(Reply('{"choices": {"0": {}}}'), BadAnswer, 1, id="choices an object"),
        pytest.param(Reply('{"choices": [null]}'), BadAnswer, 1, id="choice null"),
        pytest.param(Reply('{"choices": [{"message": null}]}'), BadAnswer, 1, id="message null"),
        pytest.param(Reply(completion(7)), BadAnswer, 1, id="content a number"),
        pytest.param(Reply(completion([GOOD])), BadAnswer, 1, id="content a list"),
        pytest.param(Reply("[" * 100_000), BadAnswer, 1, id="JSON nested too deeply"),
    ],
)
def test_faults_are_typed(say: Say, reply: Reply, error: type[Exception], requests: int) -> None:
    with scripted(reply) as server, pytest.raises(error) as caught:
        say(server.url)
    assert type(caught.value) is error
    assert server.url in str(caught.value)
    assert len(server.requests) == requests


def test_open_words_are_shown_and_named(say: Say) -> None:
    text = GOOD.replace("들고", "들고 훨훨")
    with scripted(saying(text)) as server:
        message = say(server.url, words=Words.OPEN)
    assert (message.text, message.unknown, message.tries) == (text, ("훨훨",), 1)


def test_an_answer_that_is_not_labelled_as_json_is_read_as_json(say: Say) -> None:
    with scripted(Reply(completion(GOOD), content_type="text/plain")) as server:
        assert say(server.url).text == GOOD


def test_an_answer_that_does_not_say_why_it_ended_is_a_rejected_sample(say: Say) -> None:
    unsaid = Reply(completion(GOOD).replace(', "finish_reason": "stop"', ""))
    with scripted(unsaid, saying(GOOD)) as server:
        assert say(server.url).tries == 2


def test_one_server_error_is_retried_and_counts_as_no_sample(say: Say) -> None:
    with scripted(Reply(JSON_ERROR, status=500), saying(GOOD)) as server:
        assert say(server.url).tries == 1
    assert len(server.requests) == 2


def test_a_closed_port_is_server_unavailable(say: Say) -> None:
    with pytest.raises(ServerUnavailable, match="Nothing answers at"):
        say(f"http://127.0.0.1:{free_port()}/v1")


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(saying(GOOD, delay=60), id="hangs"),
        pytest.param(saying(GOOD, drip=0.1), id="drips"),  # each read is quick, the whole takes half a minute
        pytest.param(Reply(JSON_ERROR, status=500, delay=0.3), id="slow to fail, retried"),
        pytest.param(saying(LABELLED, delay=0.2), id="slow samples"),  # four of them outlast the deadline
    ],
)
def test_one_deadline_covers_everything(say: Say, late: Reply) -> None:
    begin = time.monotonic()
    with scripted(late) as server, pytest.raises(ServerTimeout, match=r"within 0\.5 s"):
        say(server.url, deadline=SHORT)
    assert SHORT * 0.9 < time.monotonic() - begin < SHORT_BOUND
    assert server.requests


@pytest.mark.parametrize(
    "value",
    [
        *(math.nan, math.inf, -math.inf, 1e300, 60.5, 61, -51, -50.5, "10", "", None, True, [10], 10j),
        *(10**400, Decimal("NaN")),
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:8]}",
)
@pytest.mark.parametrize("place", ["yesterday", "today"])
def test_an_unusable_temperature_is_never_sent(say: Say, place: str, value: Any) -> None:
    with scripted(saying(GOOD)) as server, pytest.raises(ReadingError, match=place):
        say(server.url, **{place: value})
    assert server.requests == []


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        *((2.5, 3), (-2.5, -3), (2.4, 2), (-2.4, -2), (0.5, 1), (-0.5, -1), (0.49999999999999994, 0), (-0.2, 0)),
        *((Decimal("2.5"), 3), (Fraction(5, 2), 3), (45.0, 45), (45.4, 45), (-35.4, -35)),
    ],
)
def test_temperatures_are_rounded_half_away_from_zero(say: Say, given: float, sent: int) -> None:
    reading = Reading(sent, sent)
    with scripted(right_answer) as server:
        message = say(server.url, given, given)
    assert message.reading == reading
    assert server.requests[0].body["messages"] == build_messages(reading)


@pytest.mark.parametrize(("yesterday", "today"), [(10, 46), (0, 27), (30, 0), (45, 19), (-30, -36), (0, -45)])
def test_a_reading_for_which_the_model_has_no_message_is_never_sent(say: Say, yesterday: int, today: int) -> None:
    with scripted(saying(GOOD)) as server:
        with pytest.raises(ReadingError):
            say(server.url, yesterday, today)
        assert server.requests == []


def test_one_client_serves_several_threads() -> None:
    pairs = [(yesterday, yesterday + 5) for yesterday in range(-35, 40, 3)]
    with (
        scripted(right_answer) as server,
        SignboardClient(server.url, deadline=PATIENT) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        messages = list(pool.map(lambda pair: client.say(*pair), pairs))
    assert [message.reading for message in messages] == [Reading(*pair) for pair in pairs]
    assert all("5도" in message.text for message in messages)


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(saying(GOOD), None, id="after a message"),
        pytest.param(Reply("<html>"), BadAnswer, id="after an error"),
        pytest.param(saying(GOOD, delay=60), ServerTimeout, id="after a timeout"),
    ],
)
def test_close_leaves_nothing_behind(reply: Reply, error: type[Exception] | None, times: int) -> None:
    with scripted(reply) as server:
        before = set(threading.enumerate())
        client = SignboardClient(server.url, deadline=SHORT)
        assert set(threading.enumerate()) > before, "the client's event loop runs in a thread of its own"
        with pytest.raises(error) if error else nullcontext():
            client.say(10, 20)
        for _ in range(times):
            client.close()
        server.closing.set()  # wakes the handler that hangs
        # a handler thread lives as long as its connection: when all are gone, all connections are closed
        assert eventually(lambda: set(threading.enumerate()) <= before)


def test_a_client_that_cannot_be_made_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    with pytest.raises(SettingError, match="max_samples") as caught:
        SignboardClient("http://127.0.0.1:1/v1", max_samples=0)
    assert caught.tb  # its frames keep the half-made client alive: no garbage collector closes it for us
    closed = eventually(lambda: set(threading.enumerate()) <= before, timeout=3)
    del caught
    assert closed


IDS = [5, 7, 11]
MARK = fingerprint(IDS)
OTHER = fingerprint([5, 7, 12])
COUNT = {"usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}


def marked(mark: object = MARK, **more: object) -> Reply:
    """Return a good message from a server with a fingerprint."""
    return Reply(completion(GOOD, system_fingerprint=mark, **more))


def test_the_golden_prompt_is_checked_once_by_its_token_ids() -> None:
    with scripted(marked(prompt_token_ids=IDS)) as server, SignboardClient(server.url, deadline=PATIENT) as client:
        assert [client.say(10, 20).text for _ in range(3)] == [GOOD] * 3
    bodies = [request.body for request in server.requests]
    assert [body.get("max_tokens") for body in bodies] == [None, 1, None, None]
    assert bodies[1]["return_token_ids"] is True
    assert bodies[1]["messages"] == build_messages(*GOLDEN)


@pytest.mark.parametrize(
    "more", [{"prompt_token_ids": [5, 7, 12]}, {"usage": {**COUNT["usage"], "prompt_tokens": 4}}], ids=["ids", "count"]
)
def test_a_prompt_mismatch_gives_no_message(say: Say, more: dict[str, object]) -> None:
    with scripted(marked(**more)) as server, pytest.raises(PromptMismatch, match=MARK) as caught:
        say(server.url)
    assert "own tokenizer and template" in caught.value.todo


def test_without_token_ids_their_number_is_compared(say: Say) -> None:
    with scripted(marked(**COUNT)) as server:
        assert say(server.url).text == GOOD


def test_a_replaced_server_must_prove_its_prompt_again() -> None:
    first, second = marked(prompt_token_ids=IDS), marked(OTHER, prompt_token_ids=IDS)
    with scripted(first, first, second) as server, SignboardClient(server.url, deadline=PATIENT) as client:
        assert client.say(10, 20).text == GOOD
        with pytest.raises(PromptMismatch, match=OTHER):
            client.say(10, 20)


@pytest.mark.parametrize("mark", ["vllm-0.32.0-12345678", None, 7], ids=str)
def test_a_foreign_server_is_used_unless_a_fingerprint_is_required(say: Say, mark: object) -> None:
    with scripted(marked(mark, prompt_token_ids=[1])) as server:
        assert say(server.url).text == GOOD
        assert len(server.requests) == 1
        with pytest.raises(PromptMismatch, match=MARK):
            say(server.url, fingerprint=MARK)
        assert say(server.url, fingerprint=fingerprint([1])).text == GOOD


def test_concurrent_requests_share_one_golden_prompt() -> None:
    async def ask(url: str) -> None:
        async with AsyncSignboardClient(url, deadline=PATIENT) as client:
            await asyncio.gather(*(client.say(10, 20) for _ in range(8)))

    with scripted(marked(prompt_token_ids=IDS)) as server:
        asyncio.run(ask(server.url))
    assert [request.body.get("max_tokens") for request in server.requests].count(1) == 1
