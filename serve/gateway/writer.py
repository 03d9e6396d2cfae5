"""From a reading to a checked message: one deadline, the queue, the breaker, and one request for twin readings."""

import asyncio
import time

import openai

from clients import AsyncSignboardClient, SignMessage
from data.errors import MessageError, ServerTimeout, ServerUnavailable, ServiceError, SignboardError
from data.reading import Reading
from serve.gateway.boards import Boards, Ticket
from serve.gateway.busy import Breaker, Queue
from serve.gateway.metrics import Metrics
from serve.gateway.settings import GatewaySettings

PING_SECONDS = 3.0  # for the one-token request of probe and health; a hung one delays the next by as much
Twin = tuple[str, Reading, float | None]


class Writer:
    """Has messages written. Only the client below asks twice; nothing here retries."""

    def __init__(self, settings: GatewaySettings, boards: Boards, metrics: Metrics) -> None:
        self.sign = settings.parsed_sign
        self.client = AsyncSignboardClient(
            settings.model_url,
            model=settings.model_name,
            deadline=settings.deadline,
            patience=settings.deadline / 3,  # or a connection that went dead would hold its turn until the deadline
            fingerprint=settings.fingerprint,
            sign=self.sign,
            http_client=openai.DefaultAioHttpClient(trust_env=False),
        )
        self.queue = Queue(settings.running, settings.waiting)
        self.breaker = Breaker(self.ping, settings.failures, settings.probe_seconds)
        self._boards, self._metrics, self._deadline = boards, metrics, settings.deadline
        self._fresh, self._pinged, self._pinging = settings.health_seconds, -1e9, asyncio.Lock()
        self._health: str | SignboardError = ""
        self._twins: dict[Twin, tuple[asyncio.Task[SignMessage], list[Ticket]]] = {}

    async def close(self) -> None:
        """Let the running requests end, then close the connections."""
        await asyncio.gather(*(task for task, _ in self._twins.values()), return_exceptions=True)
        await self.breaker.close()
        await self.client.aclose()

    async def write(
        self, reading: Reading, board: str | None, temperature: float | None, request_id: str
    ) -> SignMessage:
        """Return a checked message, and show it if a board is named.

        Raises:
            MessageError: no sample passed the checks.
            ServiceError: the model is down, too slow, or too much is asked of it.
            TooManyBoards: the board is new and there is no room.
        """
        if board is None:
            return await self._ask(reading, temperature, request_id)
        twin = (board, reading, temperature)
        ticket = self._boards.ticket(board)
        if twin in self._twins:
            task, newest = self._twins[twin]
            newest[0] = ticket
        else:
            newest = [ticket]
            task = asyncio.create_task(self._ask(reading, temperature, request_id))
            self._twins[twin] = task, newest
            task.add_done_callback(lambda done: self._finish(twin, done))
        return await asyncio.shield(task)

    async def health(self) -> str:
        """Return the model's fingerprint after a one-token answer, seconds old at most.

        Raises:
            ServiceError: it did not answer.
        """
        async with self._pinging:  # however many ask, the model is asked once
            if time.monotonic() - self._pinged > self._fresh:
                try:
                    self._health = await self.ping()
                except ServiceError as error:
                    self._health = error
                    self.breaker.count(error)
                self._pinged = time.monotonic()
        if isinstance(self._health, SignboardError):
            raise self._health
        return self._health

    async def ping(self) -> str:
        """Have one token written; see `AsyncSignboardClient.ping`."""
        return await self.client.ping(deadline=min(PING_SECONDS, self._deadline))

    async def _ask(self, reading: Reading, temperature: float | None, request_id: str) -> SignMessage:
        end = time.monotonic() + self._deadline
        self.breaker.refuse()
        async with self.queue.turn(self._deadline):
            left = end - time.monotonic()
            if left <= 0:
                raise ServerTimeout("The request waited until its deadline.", "Ask for less at once.")
            # Who waited long and then ran out of time says more of the queue than of the model.
            async with self.breaker.guard(ServiceError if left > self._deadline / 2 else ServerUnavailable):
                try:
                    message = await self.client.say(
                        reading.yesterday,
                        reading.today,
                        temperature=temperature,
                        deadline=left,
                        request_id=request_id,
                    )
                except MessageError as error:
                    self._metrics.no_message(error.rejected)
                    raise
        self._metrics.message(message)
        return message

    def _finish(self, twin: Twin, task: asyncio.Task[SignMessage]) -> None:
        _, newest = self._twins.pop(twin)
        if not task.cancelled() and task.exception() is None:
            self._boards.show(twin[0], newest[0], task.result())
