"""The openai SDK for a local endpoint: open it, check its answers, type its errors."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import openai

from core.errors import BadAnswer, ServerFailed, ServerTimeout, ServerUnavailable, SettingError
from core.park import Scene
from core.prompt import build_messages
from core.reading import Reading

if TYPE_CHECKING:
    import httpx2  # the SDK's HTTP library
    from openai.types.chat import ChatCompletionMessageParam


def prompt_messages(reading: Reading, scene: Scene | None = None) -> "list[ChatCompletionMessageParam]":
    """Return the chat messages for a reading and a scene, typed for the OpenAI SDK."""
    return cast("list[ChatCompletionMessageParam]", build_messages(reading, scene))


def check_url(url: str) -> None:
    """Check an endpoint's address.

    Raises:
        SettingError: the address is not http(s), or has no usable port.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number, or over 65535
        usable = False
    if not usable:
        raise SettingError(f"{url!r} is not the address of a server.", "Write it as http://127.0.0.1:8000/v1.")


def open_sdk(
    url: str, api_key: str, timeout: float, *, max_retries: int, http_client: "httpx2.AsyncClient | None" = None
) -> openai.AsyncOpenAI:
    """Return the SDK's client for a local endpoint.

    Proxy variables are ignored: the server is local, and messages go nowhere else. An unset variable in a compose file
    becomes an empty key, which the SDK rejects; it is replaced by "none".

    Raises:
        SettingError: the address is unusable.
    """
    check_url(url)
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=api_key or "none",
        timeout=timeout,
        max_retries=max_retries,
        http_client=http_client or openai.DefaultAsyncHttpxClient(trust_env=False),
    )


def content(answer: Any, url: str) -> tuple[str, str]:
    """Return text and finish reason of an answer, given as what its JSON says.

    Raises:
        BadAnswer: the answer is not a chat completion.
    """
    try:
        choice = answer["choices"][0]
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
    except (AttributeError, LookupError, TypeError) as error:
        raise _bad_answer(url, repr(answer)) from error
    if text is not None and not isinstance(text, str):
        raise _bad_answer(url, repr(text))
    return text or "", str(finish)


def announced_fingerprint(answer: dict[str, Any]) -> str:
    """Return the fingerprint in a server's answer; none if it is no text."""
    announced = answer.get("system_fingerprint")
    return announced if isinstance(announced, str) else ""


@contextmanager
def typed_errors(url: str, deadline: float) -> Iterator[None]:
    """Turn the SDK's exceptions into the `ServiceError` tree."""
    try:
        yield
    except (TimeoutError, openai.APITimeoutError) as error:
        # The aiohttp transport reports a refused connection as a connect timeout, too.
        if type(error.__cause__).__name__ == "ConnectTimeout":
            raise _unavailable(url) from error
        raise ServerTimeout(
            f"{url} gave no message within {deadline:g} s.", "See the server's log; it may be overloaded."
        ) from error
    except openai.APIStatusError as error:
        raise ServerFailed(
            f"{url} answered {error.status_code}: {brief(error.message)}.", "See the server's log."
        ) from error
    except openai.APIConnectionError as error:
        raise _unavailable(url) from error
    except (openai.APIResponseValidationError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad_answer(url, str(error)) from error


def _unavailable(url: str) -> ServerUnavailable:
    return ServerUnavailable(f"Nothing answers at {url}.", "Start the server with `make serve`, or check the address.")


def _bad_answer(url: str, detail: str) -> BadAnswer:
    return BadAnswer(
        f"{url} answered with something that is not a chat completion: {brief(detail)}.", "Check the address."
    )


def brief(text: str, limit: int = 120) -> str:
    """Return a text on one line, cut after `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[:limit] + "…"
