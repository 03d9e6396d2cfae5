"""What keeps an overloaded or broken model from taking the gateway down: a bounded queue and a circuit breaker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from core.errors import ServerTimeout, ServiceError
from gateway.log import LOG


class Busy(ServiceError):
    """As many requests wait already as may wait."""


class ModelDown(ServiceError):
    """The breaker is open: the model failed several times in a row."""


class Queue:
    """Admit `running` at once, let `waiting` wait, refuse the rest at once."""

    def __init__(self, running: int, waiting: int) -> None:
        self._slots = asyncio.Semaphore(running)
        self._allowed = waiting
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def turn(self, seconds: float) -> AsyncIterator[None]:
        """Hold one slot; wait for it `seconds` at most.

        Raises:
            Busy: too many wait.
            ServerTimeout: none came free in time.
        """
        if self._slots.locked() and self.waiting >= self._allowed:
            raise Busy(f"{self.waiting} requests are waiting already.", "Ask again in a few seconds.")
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise ServerTimeout(f"No turn came within {seconds:g} s.", "Ask for less at once.") from error
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

    No caller's request is used to try: the probe is a one-token request of our own.
    """

    def __init__(self, probe: Callable[[], Awaitable[object]], failures: int, seconds: float) -> None:
        self._probe = probe
        self._allowed = failures
        self._seconds = seconds
        self._failed = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Requests are refused."""
        return self._probing is not None

    def refuse(self) -> None:
        """Do nothing while closed.

        Raises:
            ModelDown: the breaker is open.
        """
        if self.open:
            raise ModelDown(
                "The model does not answer; the gateway keeps asking whether it is back.", "Ask again soon."
            )

    @asynccontextmanager
    async def guard(self, counted: type[ServiceError] = ServiceError) -> AsyncIterator[None]:
        """Refuse, or count how the request ends.

        Args:
            counted: which failures are the model's.

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
        """Open at once: somebody saw that the model is down."""
        if not self.open:
            self._probing = asyncio.create_task(self._until_back())

    async def close(self) -> None:
        """End the probing."""
        if self._probing:
            self._probing.cancel()
            with suppress(asyncio.CancelledError):
                await self._probing

    def count(self, error: ServiceError) -> None:
        """Note a failure of the model."""
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
            except Exception:  # whatever it is, a breaker that never asks again would be worse
                LOG.exception("the probe failed unexpectedly")
        self._failed = 0
        self._probing = None
