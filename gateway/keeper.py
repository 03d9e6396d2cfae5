"""Keeps the boards in the database: off the event loop, several messages in one commit, through outages.

In: messages that are to be shown. Out: what the database has. While the database is down, messages are shown from
memory and wait here; when it is back they are stored, unless a younger one is there.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from core.errors import SignboardError
from gateway.board_store import BoardStore, Drop
from gateway.log import LOG
from gateway.placed import Placed

PUT_SECONDS = 2.0  # for which a message waits for the database; then it is shown from memory
RETRY_SECONDS = 1.0  # between two attempts while the database is down
WAITING = 10_000  # changes that wait for a database; the oldest are given up first


@dataclass(frozen=True, slots=True)
class Job:
    """A change that waits for the database, and what it became."""

    change: Placed | Drop
    done: asyncio.Future[Placed | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Keeper:
    """Writes changes of boards, in their order; `run` must be running.

    Args:
        store: the boards of a database.
        adopt: is told of a younger message that the database had for one that had waited.
    """

    def __init__(self, store: BoardStore, adopt: Callable[[Placed], None]) -> None:
        self.fault: SignboardError | None = None  # why the last attempt failed; None: it did not
        self._store = store
        self._adopt = adopt
        self._jobs: deque[Job] = deque(maxlen=WAITING)
        self._woken = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "boards")  # its own: a database that hangs must not stop the others

    @property
    def waiting(self) -> int:
        """The number of changes that the database does not have yet."""
        return len(self._jobs)

    async def put(self, placed: Placed) -> Placed:
        """Store a message; return the one that its board has now. If the database is down: this one, at once."""
        job = self._add(placed)
        if self.fault:
            return placed
        try:
            async with asyncio.timeout(PUT_SECONDS):
                return await asyncio.shield(job.done) or placed
        except TimeoutError:
            self._fail(SignboardError(f"The database did not answer within {PUT_SECONDS:g} s.", "Check it."))
            return placed

    def drop(self, board: str, who: str = "") -> None:
        """Forget a board, after what was put before."""
        self._add(Drop(board, who))

    async def settled(self) -> None:
        """Wait until what waits now is in the database; not if it is down."""
        if self._jobs and not self.fault:
            await asyncio.wait([job.done for job in self._jobs], timeout=PUT_SECONDS)

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._woken.wait()
            await self.write()
            if self.fault:
                await asyncio.sleep(RETRY_SECONDS)

    async def write(self) -> None:
        """Write everything that waits, in one transaction."""
        self._woken.clear()
        jobs = tuple(self._jobs)
        if not jobs:
            return
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._store.write, [job.change for job in jobs]
            )
        except SignboardError as error:
            self._fail(error)
            self._woken.set()
            for job in jobs:  # shown from memory
                _settle(job, job.change if isinstance(job.change, Placed) else None)
            return
        self._finish(jobs, found)

    async def close(self) -> None:
        """Write what waits if the database is there, and end the thread."""
        if not self.fault:
            await self.write()
        if self._jobs:
            LOG.error("the database does not have all messages", extra={"count": len(self._jobs)})
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _add(self, change: Placed | Drop) -> Job:
        job = Job(change)
        self._jobs.append(job)
        self._woken.set()
        return job

    def _finish(self, jobs: Sequence[Job], found: Sequence[Placed | None]) -> None:
        if self.fault:
            LOG.info("the database is back", extra={"stored": len(jobs)})
        self.fault = None
        written = set(map(id, jobs))
        self._jobs = deque((job for job in self._jobs if id(job) not in written), WAITING)
        for job, winner in zip(jobs, found, strict=True):
            if not _settle(job, winner) and winner is not None and winner is not job.change:
                self._adopt(winner)

    def _fail(self, error: SignboardError) -> None:
        if not self.fault:
            LOG.error("the database does not take the boards", extra={"why": error.what})
        self.fault = error


def _settle(job: Job, winner: Placed | None) -> bool:
    """Tell who waits for a job; return whether somebody may."""
    if job.done.done():
        return False
    job.done.set_result(winner)
    return True
