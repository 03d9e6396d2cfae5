"""Protect the gateway from an overloaded or broken model: a bounded queue and a circuit breaker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from core.errors import ServerTimeout, ServiceError
from gateway.log import LOG


class Busy(ServiceError):
    """The queue is full."""


class ModelDown(ServiceError):
    """The breaker is open: the model failed several times in a row."""


class Queue:
    """Admit `running` requests concurrently, let `waiting` wait, reject the rest immediately."""

    def __init__(self, running: int, waiting: int) -> None:
        self._slots = asyncio.Semaphore(running)
        self._allowed = waiting
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def turn(self, seconds: float) -> AsyncIterator[None]:
        """Hold one slot; wait for it `seconds` at most.

        Raises:
            Busy: the queue is full.
            ServerTimeout: no slot became free in time.
        """
        if self._slots.locked() and self.waiting >= self._allowed:
            raise Busy(f"{self.waiting} requests are waiting already.", "Retry in a few seconds.")
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise ServerTimeout(f"No slot became free within {seconds:g} s.", "Send fewer requests at once.") from error
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._slots.release()


class Breaker:
    """Open after `failures` model failures in a row; while open, one probe at a time asks whether the model is back.

    No caller's request serves as a probe: the probe is a one-token request of the gateway's own.
    """

    def __init__(self, probe: Callable[[], Awaitable[object]], failures: int, seconds: float) -> None:
        self._probe = probe
        self._allowed = failures
        self._seconds = seconds
        self._failed = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether requests are rejected."""
        return self._probing is not None

    def refuse(self) -> None:
        """Reject the request unless the breaker is closed.

        Raises:
            ModelDown: the breaker is open.
        """
        if self.open:
            raise ModelDown("The model does not answer; the gateway keeps probing it.", "Retry in a few seconds.")

    @asynccontextmanager
    async def guard(self, counted: type[ServiceError] = ServiceError) -> AsyncIterator[None]:
        """Reject the request, or count its outcome.

        Args:
            counted: the errors that count as the model's failures.

        Raises:
            ModelDown: the breaker is open.
        """
        self.refuse()
        try:
            yield
        except ServiceError as error:
            if isinstance(error, counted):
                self.count(error)
            raise
        self._failed = 0

    def trip(self) -> None:
        """Open immediately: a caller's request found the model down."""
        if not self.open:
            self._probing = asyncio.create_task(self._until_back())

    async def close(self) -> None:
        """Stop probing."""
        if self._probing:
            self._probing.cancel()
            with suppress(asyncio.CancelledError):
                await self._probing

    def count(self, error: ServiceError) -> None:
        """Count a failure of the model."""
        if isinstance(error, Busy | ModelDown):
            return
        self._failed += 1
        if self._failed >= self._allowed:
            self.trip()

    async def _until_back(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._probe()
                break
            except ServiceError:
                continue
            except Exception:  # any error: a breaker that stops probing would be worse
                LOG.exception("the probe failed unexpectedly")
        self._failed = 0
        self._probing = None
