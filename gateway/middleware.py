"""The middleware before every route: request id, key, rate, size, headers, one log line. Plain ASGI, for streams."""

import asyncio
import contextvars
import re
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable

from limits import parse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.keys import OPEN, Key, Keyring, KeyScope
from gateway.log import LOG
from gateway.metrics import Metrics
from gateway.problems import ProblemError
from gateway.settings import LOOPBACK, GatewaySettings

DOCS = ("/docs", "/openapi.json", "/static-offline-docs")
QUIET = (200, 304)  # a look that went well
LOOKS = re.compile(
    r"/|/page/[^/]+|/boards/[^/.]+(/history|/frames|/signs)?|/sign/[^/]+|/admin|/admin/overview|/admin/page/[^/]+"
)
ADMIN = re.compile(r"/admin(/.*)?")
# oneM2M servers send no Authorization header, and Mobius drops an address's query: the key is a part of the path. What
# follows is the receiver's own name, which servers append to an application's address (its poa).
NOTIFIED = re.compile(r"/sensors/[^/]+/onem2m/([^/]+)(?:/.*)?")
# The only addresses without a key: load balancers have none, and a player cannot answer a browser's question for one.
# The kiosk page's files hold nothing of a board; what they ask for needs the key.
FREE = re.compile(r"/health|/sign/[^/]+")
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cache-control": "no-store",
}
# Players show web pages in frames of their own pages. The kiosk page has nothing to click on.
KIOSK_POLICY = SECURITY["content-security-policy"].replace("frame-ancestors 'none'", "frame-ancestors *")
# Swagger UI starts with an inline script and loads its icons from data: URLs.
DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)


class GatewayMiddleware:
    """ASGI middleware: admits a request, or rejects it with a problem."""

    def __init__(
        self, app: ASGIApp, settings: GatewaySettings, metrics: Metrics, rates: "Rates", keyring: Keyring
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._keyring = keyring
        self._body_limit = settings.body_limit
        self._rates = rates
        self._deadline = settings.deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request, or reject it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] == "HEAD":  # wherever there is GET
            scope, (receive, send, end) = {**scope, "method": "GET", "asked": "HEAD"}, _headers_only(send)
            await self._answer(scope, receive, send, headers)
            await end()
        else:
            await self._answer(scope, receive, send, headers)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, str]) -> None:
        exchange = Exchange(scope, send, _id(headers.get(b"x-request-id", "")))
        token = request_id.set(exchange.id)
        try:
            key = self._key(scope["path"], headers)
            exchange.key = key.name
            self._keyring.note_use(key)
            scope.setdefault("state", {})["key"] = key
            if not FREE.fullmatch(scope["path"]) and not _is_look(scope):
                self._rates.hit(key)
            await self._app(scope, _limited(receive, headers, self._body_limit, self._deadline), exchange.send)
        except ProblemError as error:
            if exchange.status:
                raise
            await error.response(exchange.id, scope["path"])(scope, receive, exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or 499  # as nginx logs it: the caller has gone
        except Exception:  # the caller gets a typed error, the log gets the traceback
            if exchange.status:
                raise
            LOG.exception("unexpected error in the gateway", extra={"request_id": exchange.id})
            await ProblemError("internal").response(exchange.id, scope["path"])(scope, receive, exchange.send)
        finally:
            exchange.log(self._metrics)
            request_id.reset(token)

    def _key(self, path: str, headers: dict[bytes, str]) -> Key:
        if not self._keyring.required:  # open on loopback: a foreign page must not get in under its own host name.
            # Not starlette's TrustedHostMiddleware: it answers in plain text, without our error body
            if re.sub(r":\d*$", "", headers.get(b"host", "")).strip("[]") not in LOOPBACK:
                raise ProblemError("wrong_host", "Without keys the gateway accepts only loopback's host names.")
            return OPEN
        if FREE.fullmatch(path):
            return OPEN
        given = headers.get(b"authorization", "")
        key = self._keyring.find(given) or self._key_in(path)
        if key is None or _is_other_pages_key(path, given, key):
            # A browser asks its user for Basic's password. The kiosk page, which sends its key itself, has none to ask.
            scheme = "Bearer" if path.endswith("/frames") else "Basic"
            realm = "Signboard administration" if ADMIN.fullmatch(path) else "Signboard"
            raise ProblemError("no_key", headers={"WWW-Authenticate": f'{scheme} realm="{realm}", charset="UTF-8"'})
        if path.startswith(DOCS) and KeyScope.BOARD not in key.scopes:
            raise ProblemError("no_scope", f"This address needs the scope {KeyScope.BOARD}.")
        return key

    def _key_in(self, path: str) -> Key | None:
        """Return the key that a oneM2M notification's address carries.

        Addresses lie in other machines' settings and logs, so a key that opens more than the sensors' counts for none.
        """
        told = NOTIFIED.fullmatch(path)
        key = self._keyring.find(f"Bearer {told[1]}") if told else None
        return key if key and key.scopes == {KeyScope.SENSORS} else None


def _is_other_pages_key(path: str, given: str, key: Key) -> bool:
    """Return whether a browser sends the administrator's page a key that it was told for another page.

    It must ask for another one, in a realm of its own. 403 would leave its user no way to type one.
    """
    of_a_browser = given.lower().startswith("basic ")
    return of_a_browser and ADMIN.fullmatch(path) is not None and KeyScope.ADMIN not in key.scopes


def _is_look(scope: Scope) -> bool:
    """Return whether a request only looks at a board or loads the page: cheap, and as frequent as there are tabs.

    A PNG is not cheap, so it counts.
    """
    return scope["method"] == "GET" and LOOKS.fullmatch(scope["path"]) is not None


class Rates:
    """The rate limit of each key, over a moving window.

    Not with the storages of `limits`: they count by the wall clock, and a clock that steps back ten hours would lock
    every busy key out for ten hours.
    """

    def __init__(self, limit: str, clock: Callable[[], float] = time.monotonic, gateways: int = 1) -> None:
        self._rate = parse(limit)
        self._amount = max(1, self._rate.amount // gateways)  # this gateway's share
        self._clock = clock
        self._hits: dict[str, deque[float]] = {}  # by key, seconds

    def hit(self, key: Key, cost: int = 1) -> None:
        """Count `cost` requests of a key.

        Raises:
            ProblemError: the key exceeds its rate limit.
        """
        hits, now, window = self._hits.setdefault(key.name, deque()), self._clock(), self._rate.get_expiry()
        while hits and hits[0] <= now - window:
            hits.popleft()
        if len(hits) + cost > self._amount:
            freed = len(hits) + cost - self._amount  # so many must leave the window first
            wait = hits[freed - 1] + window - now if 0 < freed <= len(hits) else window
            raise ProblemError("too_many", f"More than {self._rate}.", {"Retry-After": str(max(1, round(wait)))})
        hits.extend([now] * cost)


class Exchange:
    """One request in progress: sends its answer and logs it."""

    def __init__(self, scope: Scope, send: Send, id_: str) -> None:
        self.id = id_
        self.key = ""
        self.status = 0
        self._scope = scope
        self._send = send
        self._begin = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Send a message, with the headers that every answer carries."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            extra = SECURITY | {"x-request-id": self.id}
            if self._scope["path"].startswith("/docs"):
                extra["content-security-policy"] = DOCS_POLICY
            elif self._scope["path"].startswith("/sign/"):
                extra["content-security-policy"] = KIOSK_POLICY
                extra["cross-origin-resource-policy"] = (
                    "cross-origin"  # start.html, on the player's disk, looks for the icon
                )
                del extra["x-frame-options"]
            present = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *((name.encode(), value.encode()) for name, value in extra.items() if name.encode() not in present),
            ]
        await self._send(message)

    def log(self, metrics: Metrics) -> None:
        """Write the access line and count the request."""
        seconds = time.perf_counter() - self._begin
        route = getattr(self._scope.get("route"), "path", "none")
        metrics.answered(route, self.status, seconds)
        if self.status in QUIET and (FREE.fullmatch(self._scope["path"]) or _is_look(self._scope)):
            return  # several a second with some tabs open: they would fill the disk and say nothing
        LOG.info(
            "request",
            extra={
                "request_id": self.id,
                "key": self.key,
                "method": self._scope.get("asked", self._scope["method"]),
                "path": re.sub(r"(?<=/onem2m/).+", "…", self._scope["path"][:200]),
                "status": self.status,
                "seconds": round(seconds, 4),
            },
        )


def _id(given: str) -> str:
    """Return the caller's id if it is safe to log, else a new one."""
    return given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else uuid.uuid4().hex


def _headers_only(send: Send) -> tuple[Receive, Send, Callable[[], Awaitable[None]]]:
    """Return how HEAD is answered: a caller that hangs up once the headers are sent, and what ends the answer.

    A stream, which would never end, ends there.
    """
    started, done = asyncio.Event(), False
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        for message in asked:
            return message
        await started.wait()
        return {"type": "http.disconnect"}

    async def head(message: Message) -> None:
        nonlocal done
        if message["type"] == "http.response.start":
            await send(message)
            started.set()
        elif not done and not message.get("more_body", False):
            done = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def end() -> None:
        if started.is_set() and not done:
            await head({"type": "http.response.body"})

    return receive, head, end


def _limited(receive: Receive, headers: dict[bytes, str], size: int, seconds: float) -> Receive:
    """Return a `receive` that rejects a body over `size` bytes, announced or not, or slower than `seconds`."""
    announced = headers.get(b"content-length", "0")
    if announced.isdigit() and int(announced) > size:
        raise ProblemError("too_large", f"More than {size} bytes.")
    end = asyncio.get_running_loop().time() + seconds
    read, more = 0, True

    async def limited() -> Message:
        nonlocal read, more
        if not more:  # the body is complete: what comes next is the disconnect
            return await receive()
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError as error:  # FastAPI passes on only its own exceptions from reading a body
            raise HTTPException(408, f"The request did not arrive within {seconds:g} s.") from error
        read += len(message.get("body", b""))
        more = message.get("more_body", False)
        if read > size:
            raise HTTPException(413, f"More than {size} bytes.")
        return message

    return limited
