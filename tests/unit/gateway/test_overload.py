"""The queue and the circuit breaker."""

import asyncio

import pytest

from core.errors import ServiceError
from gateway.overload import Breaker, Busy, Queue


def test_the_breaker_keeps_probing_after_any_error() -> None:
    faults: list[Exception] = [ServiceError("down"), ZeroDivisionError(), ServiceError("down")]

    async def probe() -> None:
        if faults:
            raise faults.pop()

    async def until_closed() -> None:
        breaker = Breaker(probe, failures=1, seconds=0.01)
        breaker.trip()
        while breaker.open:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(until_closed(), 5))
    assert faults == []


def test_the_breaker_counts_failures_in_a_row_only() -> None:
    async def failures_and_successes() -> None:
        breaker = Breaker(_never, failures=3, seconds=60)
        for _ in range(10):  # two failures, then a success: never three in a row
            for _ in range(2):
                with pytest.raises(ServiceError):
                    async with breaker.guard():
                        raise ServiceError("down")
            async with breaker.guard():
                pass
            assert not breaker.open
        for _ in range(3):
            with pytest.raises(ServiceError):
                async with breaker.guard():
                    raise ServiceError("down")
        assert breaker.open
        await breaker.close()

    asyncio.run(failures_and_successes())


def test_a_full_queue_rejects_immediately_and_recovers() -> None:
    async def fill() -> None:
        queue = Queue(running=1, waiting=1)
        async with queue.turn(60):
            waiting = asyncio.create_task(_one_turn(queue))
            await asyncio.sleep(0)
            assert (queue.running, queue.waiting) == (1, 1)
            with pytest.raises(Busy):
                async with queue.turn(60):
                    pass
        await waiting
        assert (queue.running, queue.waiting) == (0, 0)

    asyncio.run(asyncio.wait_for(fill(), 5))


async def _never() -> None:
    raise ServiceError("down")


async def _one_turn(queue: Queue) -> None:
    async with queue.turn(60):
        pass
