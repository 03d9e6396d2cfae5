"""What exactly one of several gateways does: hears the broker, drives signs, publishes boards, follows the sensors.

The database decides which one (database/leadership.py). Here its answer starts and ends that work.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from core.errors import SignboardError
from database.database import Database
from database.leadership import Leadership
from gateway.log import LOG

LOOK_SECONDS = 0.25  # between two looks at the leadership

Work = Callable[[], AbstractAsyncContextManager[object]]


@asynccontextmanager
async def leadership(database: Database, *, alone: bool) -> AsyncIterator[Leadership]:
    """Try to lead for the length of a block; a gateway alone leads at once."""
    found = Leadership(database, alone=alone)
    found.start()
    try:
        yield found
    finally:
        await asyncio.to_thread(found.stop)


@asynccontextmanager
async def while_leading(leader: Leadership, works: Sequence[Work]) -> AsyncIterator[None]:
    """Do work that only the leader does, for the length of a block; where this gateway leads already, it has begun."""
    stack = AsyncExitStack()
    if leader.leads:
        await _begin(stack, works)
    task = asyncio.create_task(_follow(leader, works, stack))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stack.aclose()


async def _follow(leader: Leadership, works: Sequence[Work], stack: AsyncExitStack) -> None:
    leads: bool | None = leader.leads
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if leader.leads == leads:
            continue
        leads = leader.leads
        LOG.info("this gateway leads now" if leads else "this gateway does not lead any more")
        try:
            await stack.aclose()
            if leads:
                await _begin(stack, works)
        except SignboardError as error:
            LOG.warning("the leader's work could not begin or end", extra={"why": error.what})
            leads = None  # the next look tries once more
        except Exception:  # a fault of ours must not end the following
            LOG.exception("the leader's work could not begin or end")
            leads = None


async def _begin(stack: AsyncExitStack, works: Sequence[Work]) -> None:
    for work in works:
        await stack.enter_async_context(work())
