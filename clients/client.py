"""The client on the openai SDK: prompt from two numbers, stop strings, checks, new samples, one deadline.

The sync client drives the async one in its own event loop, because only asyncio gives one deadline for everything:
httpx timeouts are per read, so a server that drips bytes never exceeds them.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from clients.sdk import announced_fingerprint, brief, content, open_sdk, typed_errors
from core.checks import check_answer
from core.errors import (
    MessageError,
    PromptMismatch,
    SettingError,
)
from core.park import Scene
from core.problem import Finding, Problem, Words, rejecting
from core.prompt import FINGERPRINT, GOLDEN, STOP_MARKERS, build_messages, prompt_fits
from core.reading import Reading
from core.sign import DEFAULT_SIGN, Sign

if TYPE_CHECKING:
    import httpx2  # the SDK's HTTP library

DEFAULT_URL = "http://127.0.0.1:8000/v1"
DEFAULT_MODEL = "signboard"
MAX_SAMPLES = 4  # for one message, the first included
DEADLINE = 30.0  # seconds for one message, all samples included


@dataclass(frozen=True, slots=True)
class Rejected:
    """A sample that failed its checks."""

    text: str
    problems: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class SignMessage:
    """A message that passed every check, as the model wrote it."""

    text: str
    reading: Reading
    scene: Scene | None  # None: the plain prompt was used
    tries: int  # samples requested, this one included
    seconds: float
    unknown: tuple[str, ...] = ()  # its words that the catalogue does not have; only where these are open
    rejected: tuple[Rejected, ...] = field(default=(), repr=False)


class AsyncSignboardClient:
    """Ask for checked messages from asyncio code.

    Usage:
        async with AsyncSignboardClient() as client:
            message = await client.say(10, 20)
        print(message.text)

    Args:
        base_url: the OpenAI-compatible endpoint, ending in /v1.
        model: the served model's name.
        api_key: sent as a bearer token; a local vLLM ignores it.
        deadline: seconds for one message, all samples and retries included.
        patience: seconds without a byte after which the request is retried, once; None means the deadline.
        max_samples: the most samples that are requested for one message.
        temperature: sampling temperature; None means the checkpoint's own.
        fingerprint: the prompt fingerprint to require (`python -m clients ping` prints it); None accepts the server's.
            In both cases the client checks that the server reads our prompt accordingly.
        sign: the sign that the message must fit.
        words: how to treat words that the catalogue does not have: `Words.STRICT` rejects them, which suits the
            embedded nano model; `Words.OPEN` shows them, which suits a model that writes well.
        http_client: sends the requests; None means the SDK's default. For many concurrent requests,
            `openai.DefaultAioHttpClient(trust_env=False)` needs less CPU time.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        model: str = DEFAULT_MODEL,
        api_key: str = "none",
        deadline: float = DEADLINE,
        patience: float | None = None,
        max_samples: int = MAX_SAMPLES,
        temperature: float | None = None,
        fingerprint: str | None = None,
        sign: Sign = DEFAULT_SIGN,
        words: Words = Words.STRICT,
        http_client: "httpx2.AsyncClient | None" = None,
    ) -> None:
        if max_samples < 1:
            raise SettingError(f"max_samples is {max_samples}.", "Set it to 1 or more.")
        self._base_url = base_url
        self._model = model
        self._deadline = deadline
        self._max_samples = max_samples
        self._temperature = temperature
        self._fingerprint = fingerprint
        self._sign = sign
        self._words = words
        # Fingerprints of servers that are proven to read the golden prompt as the model was trained on it.
        self._proven: set[str] = set()
        self._proving = asyncio.Lock()
        # One quick retry on silence, a dropped connection or a 5xx; the deadline bounds both attempts.
        self._openai = open_sdk(base_url, api_key, patience or deadline, max_retries=1, http_client=http_client)

    async def __aenter__(self) -> "AsyncSignboardClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._openai.close()

    async def say(
        self,
        yesterday: float,
        today: float,
        *,
        scene: Scene | None = None,
        sign: Sign | None = None,
        temperature: float | None = None,
        deadline: float | None = None,
        request_id: str | None = None,
    ) -> SignMessage:
        """Return a checked message for two temperatures in °C; see `Reading.of` for rounding and limits.

        Args:
            yesterday: °C.
            today: °C.
            scene: the season and what is in the park; None: neither is known, and only what every park has is named.
            sign: the sign that this message must fit; None means the client's.
            temperature: sampling temperature of this message; None means the client's.
            deadline: seconds for this message; None means the client's.
            request_id: sent as X-Request-Id; vLLM logs it as part of the request's name.

        Raises:
            ReadingError: a temperature is not usable; nothing was sent.
            MessageError: no sample passed the checks.
            ServerUnavailable, ServerTimeout, ServerFailed, BadAnswer, PromptMismatch: the server's fault, by kind.
        """
        reading = Reading.of(yesterday, today)
        options: dict[str, Any] = {}
        if (sampling := self._temperature if temperature is None else temperature) is not None:
            options["temperature"] = sampling
        if request_id is not None:
            options["headers"] = {"X-Request-Id": request_id}
        seconds = self._deadline if deadline is None else deadline
        with typed_errors(self._base_url, seconds):
            async with asyncio.timeout(seconds):
                return await self._sample(reading, scene, sign or self._sign, options)

    async def _sample(self, reading: Reading, scene: Scene | None, sign: Sign, options: dict[str, Any]) -> SignMessage:
        start = time.monotonic()
        rejected: list[Rejected] = []
        for tries in range(1, self._max_samples + 1):
            text, finish = await self._complete(reading, scene, options)
            found = check_answer(text, finish, reading, scene, sign)
            problems = rejecting(found, self._words)
            if not problems:
                unknown = tuple(dict.fromkeys(one.detail for one in found if one.problem is Problem.UNKNOWN))
                return SignMessage(text, reading, scene, tries, time.monotonic() - start, unknown, tuple(rejected))
            rejected.append(Rejected(text, tuple(problems)))
        last = rejected[-1]
        raise MessageError(
            f"None of {len(rejected)} messages passed the checks; the last was {brief(last.text)!r}: "
            + ", ".join(f"{problem.problem} ({brief(problem.detail)})" for problem in last.problems)
            + ".",
            "Check the model with `python -m evaluation grid`; the board goes blank when its message is stale.",
            tuple(rejected),
        )

    async def ping(self, *, deadline: float | None = None) -> str:
        """Request one token for the golden prompt; return the server's fingerprint.

        Raises:
            ServerUnavailable, ServerTimeout, ServerFailed, BadAnswer, PromptMismatch: the server's fault, by kind.
        """
        seconds = self._deadline if deadline is None else deadline
        with typed_errors(self._base_url, seconds):
            async with asyncio.timeout(seconds):
                answer = await self._create(*GOLDEN, max_tokens=1, return_token_ids=True)
        content(answer, self._base_url)
        announced = announced_fingerprint(answer)
        expected = self._fingerprint or announced
        told = answer.get("prompt_token_ids")  # vLLM's addition to the protocol
        ids = told if isinstance(told, list) else None
        usage = answer.get("usage")
        tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
        if expected.startswith(FINGERPRINT) and not prompt_fits(expected, ids, tokens):
            raise PromptMismatch(
                f"{self._base_url} reads the prompt as other tokens than the model was trained on ({expected}).",
                "Serve the checkpoint with its own tokenizer and template, and use the same version of Signboard here.",
            )
        self._proven.add(announced)
        return announced

    async def _complete(self, reading: Reading, scene: Scene | None, options: dict[str, Any]) -> tuple[str, str]:
        # No max_tokens: the checkpoint ships the number that its own tokenizer needs.
        answer = await self._create(reading, scene, stop=list(STOP_MARKERS), **options)
        said = content(answer, self._base_url)
        announced = announced_fingerprint(answer)
        # The first answer, or the server was replaced: check that it reads our prompt as its model was trained on it.
        if self._fingerprint or announced.startswith(FINGERPRINT):
            async with self._proving:  # once for all concurrent requests
                if announced not in self._proven:
                    await self.ping()
        return said

    async def _create(
        self, reading: Reading, scene: Scene | None, headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        """Return what the answer's JSON says: the SDK's own types take as long to build as our checks, unchecked."""
        body = {"model": self._model, "messages": build_messages(reading, scene), **options}
        # Not `chat.completions.create`: it checks every message's type again, which takes a third of a request's time.
        answer = await self._openai.post(
            "/chat/completions", cast_to=object, body=body, options={"headers": headers or {}}
        )
        return json.loads(answer) if isinstance(answer, str) else answer  # a text, if it is not labelled as JSON


class SignboardClient:
    """Ask for checked messages from ordinary, synchronous code; usable from several threads.

    Usage:
        with SignboardClient() as client:
            print(client.say(10, 20).text)

    The arguments are those of `AsyncSignboardClient`, which does the work in an event loop of its own.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        model: str = DEFAULT_MODEL,
        api_key: str = "none",
        deadline: float = DEADLINE,
        patience: float | None = None,
        max_samples: int = MAX_SAMPLES,
        temperature: float | None = None,
        fingerprint: str | None = None,
        sign: Sign = DEFAULT_SIGN,
        words: Words = Words.STRICT,
        http_client: "httpx2.AsyncClient | None" = None,
    ) -> None:
        self._closed = False
        self._loop = start_blocking_portal()  # a context manager: entered here, left by close()
        self._portal: BlockingPortal = self._loop.__enter__()
        try:
            self._client = AsyncSignboardClient(
                base_url,
                model=model,
                api_key=api_key,
                deadline=deadline,
                patience=patience,
                max_samples=max_samples,
                temperature=temperature,
                fingerprint=fingerprint,
                sign=sign,
                words=words,
                http_client=http_client,
            )
        except BaseException:
            self._loop.__exit__(None, None, None)
            raise

    def __enter__(self) -> "SignboardClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and the event loop; closing twice is no error."""
        if self._closed:
            return
        self._closed = True
        try:
            self._portal.call(self._client.aclose)
        finally:
            self._loop.__exit__(None, None, None)

    def say(
        self,
        yesterday: float,
        today: float,
        *,
        scene: Scene | None = None,
        sign: Sign | None = None,
        temperature: float | None = None,
        deadline: float | None = None,
        request_id: str | None = None,
    ) -> SignMessage:
        """Return a checked message for two temperatures in °C; arguments and errors as `AsyncSignboardClient.say`."""
        say = partial(
            self._client.say,
            yesterday,
            today,
            scene=scene,
            sign=sign,
            temperature=temperature,
            deadline=deadline,
            request_id=request_id,
        )
        return self._portal.call(say)

    def ping(self, *, deadline: float | None = None) -> str:
        """Return the server's fingerprint after a one-token answer; errors as `AsyncSignboardClient.ping`."""
        return self._portal.call(partial(self._client.ping, deadline=deadline))
