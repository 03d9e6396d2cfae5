"""A scripted fake of an OpenAI endpoint on 127.0.0.1, for faults that a real vLLM does not produce on demand.

In: one `Reply` per request, or a function that makes the reply. Out: `ScriptedServer.requests`, as they arrived.
"""

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from core.prompt import read_user_text
from data.compose import compose

JSON = "application/json"
GOOD = "어제보다 10도 올라 포근해졌습니다. 겉옷은 벗어 들고 걸어 보세요."  # right for 10 → 20 °C
LABELLED = f"출력: {GOOD}"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request."""

    body: str = ""
    status: int = 200
    content_type: str = JSON
    delay: float = 0.0  # seconds before the first byte
    drip: float = 0.0  # seconds between single bytes of the body
    drop: bool = False  # close the connection halfway through the body


Script = Reply | Callable[[Request], Reply]


def completion(content: object, finish: object = "stop", **more: object) -> str:
    """Return a chat completion's JSON; `content` and `finish` may be of the wrong type on purpose."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "signboard", "choices": [choice], **more}
    return json.dumps(whole, ensure_ascii=False)


def saying(content: object, finish: object = "stop", **how: Any) -> Reply:
    """Return a chat completion as a reply."""
    return Reply(completion(content, finish), **how)


def right_answer(request: Request) -> Reply:
    """Answer any prompt with a correct message (this is a fake: the board's text never comes from here)."""
    asked = read_user_text(request.body["messages"][-1]["content"])
    return saying(compose(*asked, random.Random(str(asked))))


class ScriptedServer(ThreadingHTTPServer):
    """Answers the n-th POST with the n-th reply; the last reply answers everything that follows."""

    daemon_threads = True

    def __init__(self, *script: Script, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.models = '{"object": "list", "data": []}'  # the answer to every GET
        self.models_status = 200
        self.closing = threading.Event()
        self._script, self._turn = script, threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def next_reply(self, request: Request) -> Reply:
        """Record a request and return its reply."""
        with self._turn:
            step = self._script[min(len(self.requests), len(self._script) - 1)]
            self.requests.append(request)
        return step(request) if callable(step) else step

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect, as the tests make them; show any other error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as with vLLM
    disable_nagle_algorithm = True  # head and body are two writes; else the second waits 40 ms for the first
    server: ScriptedServer

    def do_GET(self) -> None:
        body = self.server.models.encode()
        self.send_response(self.server.models_status)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        if len(content) < length:  # the client disconnected while sending
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.next_reply(Request(self.path, headers, _parsed(content)))
        if self.server.closing.wait(reply.delay):
            return
        body = reply.body.encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(body[: len(body) // 2] if reply.drop else body, reply.drip)
        self.close_connection = self.close_connection or reply.drop

    def _send(self, body: bytes, drip: float) -> None:
        if not drip:
            self.wfile.write(body)
            return
        for number in body:
            self.wfile.write(bytes([number]))
            if self.server.closing.wait(drip):
                return

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test output clean."""


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:  # a gateway forwards whatever it gets
        return {}


@contextmanager
def scripted(*script: Script) -> Iterator[ScriptedServer]:
    """Run a scripted server in a thread for the length of a `with` block."""
    with ScriptedServer(*script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> bool:
    """Wait until a condition holds; return whether it does in the end."""
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def healthy(url: str) -> bool:
    """Return whether a server's /health answers 200."""
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
