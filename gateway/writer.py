"""From a reading to a checked message: one deadline, the queue, the breaker, and one request for identical readings."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime

import openai
from opentelemetry.trace import Tracer

from clients import AsyncSignboardClient, SignMessage
from core.errors import MessageError, ServerTimeout, ServerUnavailable, ServiceError, SignboardError
from core.park import Park, Scene
from core.reading import Reading
from gateway.boards import Boards, NotShown, Ticket
from gateway.metrics import Metrics
from gateway.overload import Breaker, Queue
from gateway.settings import PING_SECONDS, GatewaySettings
from gateway.traces import Traces, span


@dataclass(frozen=True, slots=True)
class Asked:
    """What a message is asked for; `temperature` is the sampling temperature, None the checkpoint's own."""

    reading: Reading
    scene: Scene
    park: Park
    temperature: float | None = None


Twin = tuple[str, Asked]  # board, and what it asks for


@dataclass(frozen=True, slots=True)
class Written:
    """A checked message, and why the named board does not show it (None: it does, or no board was named)."""

    message: SignMessage
    not_shown: NotShown | None = None


@dataclass(slots=True)
class Pending:
    """A message in progress for a board; `ticket` belongs to the newest of the readings that wait for it."""

    ticket: Ticket
    task: asyncio.Task[Written]


def new_client(settings: GatewaySettings, traces: Traces) -> AsyncSignboardClient:
    """Return the gateway's client of the model."""
    return AsyncSignboardClient(
        settings.model_url,
        model=settings.model_name,
        deadline=settings.deadline,
        patience=settings.deadline / 3,  # or a dead connection would hold its slot until the deadline
        fingerprint=settings.fingerprint,
        words=settings.words,
        http_client=openai.DefaultAioHttpClient(trust_env=False, event_hooks=traces.hooks),
    )


async def ping(client: AsyncSignboardClient, settings: GatewaySettings) -> str:
    """Request one token; see `AsyncSignboardClient.ping`."""
    return await client.ping(deadline=min(PING_SECONDS, settings.deadline))


class Health:
    """The model's health, checked at most every `health_seconds`.

    Args:
        settings: the gateway's.
        client: sends the one-token requests.
        breaker: counts the failures.
    """

    def __init__(self, settings: GatewaySettings, client: AsyncSignboardClient, breaker: Breaker) -> None:
        self._settings = settings
        self._client = client
        self._breaker = breaker
        self._lock = asyncio.Lock()
        self._asked_at: float | None = None  # monotonic seconds
        self._last: str | SignboardError = ""

    async def check(self) -> str:
        """Return the model's fingerprint after a one-token answer.

        Raises:
            ServiceError: the model did not answer.
        """
        async with self._lock:  # one request to the model for all concurrent callers
            if self._asked_at is None or time.monotonic() - self._asked_at > self._settings.health_seconds:
                try:
                    self._last = await ping(self._client, self._settings)
                except ServiceError as error:
                    self._last = error
                    self._breaker.count(error)
                self._asked_at = time.monotonic()
        if isinstance(self._last, SignboardError):
            raise self._last
        return self._last


class Writer:
    """Requests messages from the model. Retries happen only in the client.

    Args:
        settings: the gateway's.
        client: requests samples and checks them.
        boards: show the messages.
        queue: bounds the concurrent requests.
        breaker: rejects requests while the model is down.
        metrics: counts samples.
        tracer: begins a span for each message.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        client: AsyncSignboardClient,
        boards: Boards,
        queue: Queue,
        breaker: Breaker,
        metrics: Metrics,
        tracer: Tracer,
    ) -> None:
        self._deadline = settings.deadline
        self._client = client
        self._boards = boards
        self._queue = queue
        self._breaker = breaker
        self._metrics = metrics
        self._tracer = tracer
        self._pending: dict[Twin, Pending] = {}

    async def close(self) -> None:
        """Wait until the running requests end."""
        await asyncio.gather(*(pending.task for pending in self._pending.values()), return_exceptions=True)

    async def write(
        self, asked: Asked, board: str | None, request_id: str, *, measured_at: datetime | None = None, who: str = ""
    ) -> Written:
        """Return a checked message, and show it if a board is named.

        Args:
            asked: the reading and what the model is told besides.
            board: shows the message; None: none does.
            request_id: for the log.
            measured_at: when the reading was measured; None: when it arrived, now.
            who: the key that posted it; empty: sensors.

        Raises:
            MessageError: no sample passed the checks.
            ServiceError: the model is down, too slow or overloaded.
            TooManyBoards: the board is new and there is no room.
        """
        if board is None:
            return Written(await self._ask(asked, request_id))
        twin = (board, asked)
        ticket = self._boards.ticket(board, asked.park, measured_at, who)
        if twin in self._pending:
            self._pending[twin].ticket = ticket
        else:
            task = asyncio.create_task(self._ask_and_show(twin, request_id))
            self._pending[twin] = Pending(ticket, task)
            task.add_done_callback(lambda _: self._pending.pop(twin))
        return await asyncio.shield(self._pending[twin].task)

    async def _ask_and_show(self, twin: Twin, request_id: str) -> Written:
        board, asked = twin
        message = await self._ask(asked, request_id)
        return Written(message, await self._boards.show(board, self._pending[twin].ticket, message))

    async def _ask(self, asked: Asked, request_id: str) -> SignMessage:
        reading = {"signboard.yesterday": asked.reading.yesterday, "signboard.today": asked.reading.today}
        with span(self._tracer, "message", **reading) as begun:
            message = await self._ask_in_turn(asked, request_id)
            begun.set_attribute("signboard.tries", message.tries)
        self._metrics.message(message)
        return message

    async def _ask_in_turn(self, asked: Asked, request_id: str) -> SignMessage:
        end = time.monotonic() + self._deadline
        self._breaker.refuse()
        async with self._queue.turn(self._deadline):
            left = end - time.monotonic()
            if left <= 0:
                raise ServerTimeout("The request waited until its deadline.", "Send fewer requests at once.")
            # A request that waited long and then ran out of time says more about the queue than about the model.
            async with self._breaker.guard(ServiceError if left > self._deadline / 2 else ServerUnavailable):
                try:
                    return await self._client.say(
                        asked.reading.yesterday,
                        asked.reading.today,
                        scene=asked.scene,
                        sign=asked.park.sign,
                        temperature=asked.temperature,
                        deadline=left,
                        request_id=request_id,
                    )
                except MessageError as error:
                    self._metrics.no_message(error.rejected)
                    raise
