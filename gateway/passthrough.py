"""Two OpenAI routes, forwarded byte by byte. Answers are unchecked here; `AsyncSignboardClient` checks them."""

import asyncio
import json
import re
from contextlib import AsyncExitStack
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from core.errors import ServerFailed, ServerTimeout, ServerUnavailable
from gateway.middleware import request_id
from gateway.overload import Breaker, Queue
from gateway.problems import ProblemError
from gateway.settings import PING_SECONDS, GatewaySettings
from gateway.traces import Traces

PASSED_ON = ("content-type",)  # of vLLM's headers; the others concern its own connection


# What vLLM would answer with 200 and text that means nothing: the model writes one kind of message and ends it.
UNSUPPORTED = ("response_format", "structured_outputs", "tools", "functions", "function_call", "audio", "modalities")


def _refuse_unsupported(body: bytes) -> None:
    """Reject a request for structured output, tools or another kind of answer.

    Raises:
        ProblemError: the first such field, by name.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return  # vLLM says what is wrong with it
    if not isinstance(asked, dict):
        return
    for name in (*UNSUPPORTED, *(name for name in asked if re.fullmatch(r"guided_\w+", name, re.ASCII))):
        value = asked.get(name)
        if value and value not in ({"type": "text"}, ["text"]):
            raise ProblemError("unsupported", f"{name}: the model writes one plain message, nothing else.")


class TimedStream(StreamingResponse):
    """A stream that is cut at its deadline, even if its reader stalls."""

    def __init__(self, *arguments: Any, end: float, held: AsyncExitStack) -> None:
        super().__init__(*arguments)
        self._end = end
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole stream, or close the connection at the deadline."""
        try:
            async with asyncio.timeout_at(self._end):
                await super().__call__(scope, receive, send)
        finally:
            await self._held.aclose()


class Passthrough:
    """A client of vLLM that forwards answers and reads only their status.

    Args:
        settings: the gateway's.
        queue: separate from the boards' queue, so that callers of the OpenAI routes cannot delay a board.
        breaker: shared by all requests to the model.
        traces: say which trace a request belongs to.
    """

    def __init__(self, settings: GatewaySettings, queue: Queue, breaker: Breaker, traces: Traces) -> None:
        self._base = settings.model_url.rstrip("/")
        self._deadline = settings.deadline
        self._queue = queue
        self._breaker = breaker
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._http = httpx.AsyncClient(
            timeout=settings.deadline, limits=limits, trust_env=False, event_hooks=traces.hooks
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def forward(self, request: Request, path: str) -> Response:
        """Return vLLM's answer; a stream is forwarded as it arrives.

        Raises:
            ServiceError: vLLM is down, fails, is too slow or overloaded.
        """
        end = asyncio.get_running_loop().time() + self._deadline
        # A browser lets another site's page send this type only after a CORS preflight; others need none.
        if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
            raise ProblemError("bad_input", "The content type is not application/json.")
        body = await request.body()
        _refuse_unsupported(body)
        self._breaker.refuse()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._queue.turn(self._deadline))
            # A caller's own request may be slow or make vLLM fail; only an unreachable vLLM is down for everybody.
            async with self._breaker.guard(ServerUnavailable):
                answer = await self._send(request.method, path, body, stack, end)
            headers = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
            if not headers.get("content-type", "").startswith("text/event-stream"):
                return Response(answer.content, answer.status_code, headers)
            held = stack.pop_all()  # the slot is held until the stream ends
            return TimedStream(answer.aiter_raw(), answer.status_code, headers, end=end, held=held)

    async def model(self, request: Request, name: str) -> Response:
        """Return vLLM's entry of one model, of its list.

        Raises:
            ProblemError: the list has no such model.
            ServiceError: as `forward`.
        """
        answer = await self.forward(request, "models")
        if answer.status_code != httpx.codes.OK:
            return answer
        entries = json.loads(bytes(answer.body)).get("data", [])
        entry = next((entry for entry in entries if entry.get("id") == name), None)
        if entry is None:
            raise ProblemError("not_found", f"There is no model {name!r}.")
        return JSONResponse(entry)

    async def served(self, name: str) -> str | None:
        """Return the folder that vLLM says it serves under a name, without those above its run; None: it says none.

        Raises:
            ServiceError: as `forward`.
        """
        end = asyncio.get_running_loop().time() + PING_SECONDS
        async with AsyncExitStack() as stack:
            answer = await self._send("GET", "models", b"", stack, end)
            entries = answer.json().get("data", []) if answer.status_code == httpx.codes.OK else []
        root = next((str(one["root"]) for one in entries if one.get("id") == name and one.get("root")), None)
        return root and "/".join(root.rstrip("/").split("/")[-2:])

    async def _send(self, method: str, path: str, body: bytes, stack: AsyncExitStack, end: float) -> httpx.Response:
        headers = {"content-type": "application/json", "x-request-id": request_id.get()}
        asked = self._http.build_request(method, f"{self._base}/{path}", content=body or None, headers=headers)
        try:
            async with asyncio.timeout_at(end):
                answer = await self._http.send(asked, stream=True)
                stack.push_async_callback(answer.aclose)
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    await answer.aread()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise ServerTimeout(f"The model gave no answer within {self._deadline:g} s.") from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise ServerUnavailable("The model's server cannot be reached, or closed the connection.") from error
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise ServerFailed(f"The model's server answered {answer.status_code}.")
        return answer
