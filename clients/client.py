"""The client on the openai SDK: prompt from two numbers, stop token, checks, more samples, one deadline.

The sync client drives the async one from its own event loop, because only there one deadline covers everything:
httpx timeouts are per read, and a server that drips bytes outlasts them.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import openai
from anyio.from_thread import BlockingPortal, start_blocking_portal
from openai.types.chat import ChatCompletion

from data.errors import BadAnswer, MessageError, PromptMismatch, ServerFailed, ServerTimeout, ServerUnavailable
from data.message import Found, Problem, check_message
from data.prompt import FINGERPRINT, GOLDEN, STOP_MARKERS, build_messages, prompt_fits
from data.reading import Reading
from data.sign import DEFAULT_SIGN, Sign

DEFAULT_URL = "http://127.0.0.1:8000/v1"
DEFAULT_MODEL = "signboard"
MAX_SAMPLES = 4  # asked of the model for one message, the first included
DEADLINE = 30.0  # seconds for one message, all samples included
MAX_TOKENS = 64  # a good message takes about half of it


@dataclass(frozen=True, slots=True)
class Rejected:
    """A sample that failed its checks."""

    text: str
    problems: tuple[Found, ...]


@dataclass(frozen=True, slots=True)
class SignMessage:
    """A message that passed every check, as the model wrote it."""

    text: str
    reading: Reading
    tries: int  # samples asked, this one included
    seconds: float
    warnings: tuple[str, ...] = ()  # about the reading: outside what the model was trained on
    rejected: tuple[Rejected, ...] = field(default=(), repr=False)


class AsyncSignboardClient:
    """Ask for messages asynchronously.

    Args:
        base_url: the OpenAI-compatible endpoint, ending in /v1.
        model: the served model's name.
        api_key: sent as a bearer token; a local vLLM ignores it.
        deadline: seconds for one message, all samples and retries included.
        patience: seconds without a byte after which a sample is asked for anew, once; None means the deadline.
        max_samples: how often the model is asked for one message at most.
        temperature: sampling temperature; None means the checkpoint's own.
        fingerprint: what the server's prompt must be (`python -m serve` prints it); None trusts what the server
            announces, and then still checks that it reads our prompt so.
        sign: the sign that must have room for the message.
        http_client: what sends the requests; None means the SDK's default. For many at once,
            `openai.DefaultAioHttpClient(trust_env=False)` costs less of a CPU.
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
        http_client: Any = None,
    ) -> None:
        self._sign = sign
        self._base_url, self._model = base_url, model
        self._fingerprint, self._proven, self._proving = fingerprint, set[str](), asyncio.Lock()
        self._deadline, self._max_samples, self._temperature = deadline, max_samples, temperature
        if max_samples < 1:
            raise ValueError("max_samples must be at least 1")
        # One quick retry on silence, a dropped connection or a 5xx; the deadline above it bounds both.
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
        temperature: float | None = None,
        deadline: float | None = None,
        request_id: str | None = None,
    ) -> SignMessage:
        """Return a checked message for two temperatures in °C; see `Reading.of` for rounding and limits.

        Args:
            yesterday: °C.
            today: °C.
            temperature: sampling temperature of this message; None means the client's.
            deadline: seconds for this message; None means the client's.
            request_id: sent as X-Request-Id; it is part of the request's name in vLLM's log.

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
                return await self._sample(reading, options)

    async def _sample(self, reading: Reading, options: dict[str, Any]) -> SignMessage:
        start = time.monotonic()
        rejected: list[Rejected] = []
        for tries in range(1, self._max_samples + 1):
            text, finish = content(await self._complete(reading, options), self._base_url)
            problems = check_message(text, reading, self._sign)
            if finish != "stop":
                problems.append(Found(Problem.UNFINISHED, finish))
            if not problems:
                return SignMessage(text, reading, tries, time.monotonic() - start, reading.warnings, tuple(rejected))
            rejected.append(Rejected(text, tuple(problems)))
        last = rejected[-1]
        raise MessageError(
            f"None of {len(rejected)} messages passed the checks; the last was {_brief(last.text)!r}: "
            + ", ".join(f"{problem.problem} ({_brief(problem.detail)})" for problem in last.problems)
            + ".",
            "Keep the board's last message, and check the model with `python -m clients evaluate`.",
            tuple(rejected),
        )

    async def ping(self, *, deadline: float | None = None) -> str:
        """Have the golden prompt read and one token written; return the server's fingerprint.

        Raises:
            ServerUnavailable, ServerTimeout, ServerFailed, BadAnswer, PromptMismatch: the server's fault, by kind.
        """
        seconds = self._deadline if deadline is None else deadline
        with typed_errors(self._base_url, seconds):
            async with asyncio.timeout(seconds):
                completion = await self._create(GOLDEN, max_tokens=1, return_token_ids=True)
        content(completion, self._base_url)
        announced = _announced(completion)
        expected = self._fingerprint or announced
        told: Any = getattr(completion, "prompt_token_ids", None)  # vLLM's addition to the protocol
        ids = told if isinstance(told, list) else None
        tokens = getattr(completion.usage, "prompt_tokens", None)
        if expected.startswith(FINGERPRINT) and not prompt_fits(expected, ids, tokens):
            raise PromptMismatch(
                f"{self._base_url} reads the prompt as other tokens than the model was trained on ({expected}).",
                "Serve the checkpoint with its own tokenizer and template, and use the same version of Signboard here.",
            )
        self._proven.add(announced)
        return announced

    async def _complete(self, reading: Reading, options: dict[str, Any]) -> ChatCompletion:
        completion = await self._create(reading, stop=list(STOP_MARKERS), max_tokens=MAX_TOKENS, **options)
        announced = _announced(completion)
        # The first answer, or a server that was replaced meanwhile: is it asked as its model was trained?
        if self._fingerprint or announced.startswith(FINGERPRINT):
            async with self._proving:  # once, however many ask at the same time
                if announced not in self._proven:
                    await self.ping()
        return completion

    async def _create(self, reading: Reading, headers: dict[str, str] | None = None, **options: Any) -> ChatCompletion:
        body = {"model": self._model, "messages": build_messages(reading), **options}
        # Not `chat.completions.create`: it looks at every message's type again, a third of the time of a request.
        return await self._openai.post(
            "/chat/completions", cast_to=ChatCompletion, body=body, options={"headers": headers or {}}
        )


class SignboardClient:
    """Ask for messages synchronously; the arguments are `AsyncSignboardClient`'s. Usable from several threads."""

    def __init__(self, base_url: str = DEFAULT_URL, **options: Any) -> None:
        self._closed = False
        self._opened = start_blocking_portal()
        self._portal: BlockingPortal = self._opened.__enter__()
        try:
            self._client = AsyncSignboardClient(base_url, **options)
        except BaseException:
            self._opened.__exit__(None, None, None)
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
            self._opened.__exit__(None, None, None)

    def say(self, yesterday: float, today: float) -> SignMessage:
        """Return a checked message for two temperatures in °C; see `AsyncSignboardClient.say`."""
        return self._portal.call(self._client.say, yesterday, today)

    def ping(self) -> str:
        """Return the server's fingerprint after a one-token answer; see `AsyncSignboardClient.ping`."""
        return self._portal.call(self._client.ping)


def check_url(url: str) -> None:
    """Check an endpoint's address.

    Raises:
        ServerUnavailable: it is no http(s) address with a usable port.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or over 65535
        usable = False
    if not usable:
        raise ServerUnavailable(f"{url!r} is not the address of a server.", "Write it as http://127.0.0.1:8000/v1.")


def open_sdk(
    url: str, api_key: str, timeout: float, *, max_retries: int, http_client: Any = None
) -> openai.AsyncOpenAI:
    """Return the SDK's client for a local endpoint.

    Proxy variables are ignored: the server is local, and messages go nowhere else. An unset variable of a compose file
    arrives as an empty key, which the SDK refuses.

    Raises:
        ServerUnavailable: the address is unusable.
    """
    check_url(url)
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=api_key or "none",
        timeout=timeout,
        max_retries=max_retries,
        http_client=http_client or openai.DefaultAsyncHttpxClient(trust_env=False),
    )


def content(completion: ChatCompletion, url: str) -> tuple[str, str]:
    """Return text and finish reason of an answer.

    Raises:
        BadAnswer: it is no chat completion. The SDK does not validate what a server sends.
    """
    try:
        choice = completion.choices[0]
        text, finish = choice.message.content, choice.finish_reason
    except (AttributeError, LookupError, TypeError) as error:
        raise _bad_answer(url, repr(completion)) from error
    if text is not None and not isinstance(text, str):
        raise _bad_answer(url, repr(text))
    return text or "", str(finish)


def _announced(completion: ChatCompletion) -> str:
    """Return the fingerprint that a server gives its answers; the SDK does not validate its type."""
    announced: Any = getattr(completion, "system_fingerprint", None)
    return announced if isinstance(announced, str) else ""


@contextmanager
def typed_errors(url: str, deadline: float) -> Iterator[None]:
    """Turn what the SDK raises into the `ServiceError` tree."""
    try:
        yield
    except (TimeoutError, openai.APITimeoutError) as error:
        # The aiohttp transport calls a refused connection a timeout of connecting, too.
        if type(error.__cause__).__name__ == "ConnectTimeout":
            raise _unavailable(url) from error
        raise ServerTimeout(
            f"{url} gave no message within {deadline:g} s.", "Look into the server's log; it may be overloaded."
        ) from error
    except openai.APIStatusError as error:
        raise ServerFailed(
            f"{url} answered {error.status_code}: {_brief(error.message)}.", "Look into the server's log."
        ) from error
    except openai.APIConnectionError as error:
        raise _unavailable(url) from error
    except (openai.APIResponseValidationError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad_answer(url, str(error)) from error


def _unavailable(url: str) -> ServerUnavailable:
    return ServerUnavailable(f"Nothing answers at {url}.", "Start the server with `make serve`, or check the address.")


def _bad_answer(url: str, detail: str) -> BadAnswer:
    return BadAnswer(
        f"{url} answered with something that is no chat completion: {_brief(detail)}.", "Is it the right address?"
    )


def _brief(text: str, limit: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[:limit] + "…"
