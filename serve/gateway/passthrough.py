"""The SDK's two routes, passed on byte by byte. What comes back is unchecked: `AsyncSignboardClient` checks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from data.errors import ServerFailed, ServerTimeout, ServerUnavailable
from serve.gateway.door import request_id
from serve.gateway.writer import Writer

PASSED_ON = ("content-type",)  # of vLLM's headers; its others are about its own connection


class Passthrough:
    """A client of vLLM that looks at nothing but the status."""

    def __init__(self, url: str, deadline: float, writer: Writer) -> None:
        self._base, self._deadline, self._writer = url.rstrip("/"), deadline, writer
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._http = httpx.AsyncClient(timeout=deadline, limits=limits, trust_env=False)
        self.host = urlsplit(url).netloc

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def forward(self, request: Request, path: str) -> Response:
        """Return vLLM's answer; a stream is passed on while it comes.

        Raises:
            ServiceError: vLLM is down, fails or is too slow, or too much is asked of it.
        """
        body = await request.body()
        self._writer.breaker.refuse()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._writer.queue.turn(self._deadline))
            async with self._writer.breaker.guard():
                answer = await self._send(request.method, path, body, stack)
            headers = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
            if not headers.get("content-type", "").startswith("text/event-stream"):
                return Response(answer.content, answer.status_code, headers)
            held = stack.pop_all()  # the slot is held until the stream ends
            return StreamingResponse(
                self._pass_on(answer, held), answer.status_code, headers, background=BackgroundTask(held.aclose)
            )

    async def _send(self, method: str, path: str, body: bytes, stack: AsyncExitStack) -> httpx.Response:
        headers = {"content-type": "application/json", "x-request-id": request_id.get()}
        asked = self._http.build_request(method, f"{self._base}/{path}", content=body or None, headers=headers)
        try:
            async with asyncio.timeout(self._deadline):
                answer = await self._http.send(asked, stream=True)
                stack.push_async_callback(answer.aclose)
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    await answer.aread()
        except (TimeoutError, httpx.TimeoutException) as error:
            raise ServerTimeout(f"The model gave no answer within {self._deadline:g} s.") from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise ServerUnavailable("The model's server cannot be reached, or hung up.") from error
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise ServerFailed(f"The model's server answered {answer.status_code}.")
        return answer

    async def _pass_on(self, answer: httpx.Response, held: AsyncExitStack) -> AsyncIterator[bytes]:
        async with held:
            async for part in answer.aiter_raw():
                yield part
