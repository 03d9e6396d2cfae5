"""The boards follow the sensors: a park's reading → a message, when the reading changes or the message gets old.

In: what the station says of each park. Out: messages by the same writer that answers requests, with its deadline, its
queue, its breaker and its retries. There are no retries here: the next look is one.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from core.errors import MessageError, SignboardError
from core.park import Park
from gateway.boards import Boards, TooManyBoards
from gateway.log import LOG
from gateway.metrics import Metrics
from gateway.settings import GatewaySettings
from gateway.writer import Asked, Writer
from sensors.days import Comparison, NoReading
from sensors.station import Station

SOONEST = 1.0  # seconds between two looks at a park: its sensors report one after the other


class Follower:
    """Looks at every park's reading, now and then and when something new came, and requests a message where it is due.

    Args:
        settings: how often to look, and how often a board may change.
        parks: the parks by their file names.
        station: has their readings.
        writer: requests messages and shows them.
        boards: show the messages.
        metrics: counts the seconds from a measurement to its message.
        leads: whether this gateway writes; one that does not still says why a park has no reading.
        now: the wall clock.
        monotonic: a clock in seconds that never steps.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        parks: dict[str, Park],
        station: Station,
        writer: Writer,
        boards: Boards,
        metrics: Metrics,
        leads: Callable[[], bool] = lambda: True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._parks = parks
        self._station = station
        self._writer = writer
        self._boards = boards
        self._metrics = metrics
        self._leads = leads
        self._now = now
        self._monotonic = monotonic
        self._news = {name: asyncio.Event() for name in station.parks}
        self._asked_at: dict[str, float] = {}  # board → when the model last wrote for it, with or without success
        self.failures: dict[str, str] = {}  # park → why its last look failed

    async def run(self) -> None:
        """Look for ever, at one park after the other, so that the model is not asked for all at once."""
        pause, loop = self._settings.look_seconds, asyncio.get_running_loop()

        def told(park: str) -> None:
            loop.call_soon_threadsafe(self._news[park].set)

        with self._station.watched(told):
            async with asyncio.TaskGroup() as group:
                for number, name in enumerate(self._station.parks):
                    group.create_task(self._follow(name, pause * number / len(self._station.parks)))

    async def _follow(self, name: str, delay: float) -> None:
        with suppress(TimeoutError):  # after a start a new observation must not wait for its park's turn
            await asyncio.wait_for(self._news[name].wait(), delay)
        while True:
            self._news[name].clear()  # what comes during the look causes the next one
            try:
                await self.look(name)
                self.failures.pop(name, None)
            except (SignboardError, TooManyBoards) as error:
                self.failures[name] = _reason(error)
                LOG.warning("no message for the park's reading", extra={"park": name, "why": _reason(error)})
            except Exception:  # a fault at one look must not end the following
                self.failures[name] = "An unexpected error; the gateway's log has it."
                LOG.exception("unexpected error while following the sensors", extra={"park": name})
            await self._rest(name)

    async def _rest(self, name: str) -> None:
        """Wait until it is time to look, or there is a new observation and the board may change."""
        longest = self._settings.look_seconds
        asked_at = self._asked_at.get(self._station.parks[name].board)
        gap = 0.0 if asked_at is None else asked_at + self._settings.message_gap - self._monotonic()
        quiet = min(longest, max(gap, SOONEST))
        await asyncio.sleep(quiet)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news[name].wait(), longest - quiet)

    async def look(self, name: str) -> None:
        """Compare a park's yesterday and today; request a message for its board if one is due.

        Raises:
            SignboardError: the store cannot be read, or there is no message; the next look tries again.
            TooManyBoards: the board is new and there is no room.
        """
        board = self._station.parks[name].board
        found = await self._explained(name)
        if isinstance(found, Comparison) and self._leads() and self._is_due(board, found):
            await self._write(board, self._parks[name], found)

    async def write_now(self, name: str) -> NoReading | None:
        """Request a message for a park's reading of now, due or not; return why there is no reading, or None.

        A board that an administrator keeps blank shows it, and the next ones.

        Raises:
            SignboardError: the store cannot be read, or there is no message.
            TooManyBoards: the board is new and there is no room.
        """
        board = self._station.parks[name].board
        found = await self._explained(name)
        if isinstance(found, NoReading):
            return found
        self._boards.unblank(board)
        await self._write(board, self._parks[name], found)
        return None

    async def _explained(self, name: str) -> Comparison | NoReading:
        """Return a park's reading of now; if there is none, its board says why."""
        found = await asyncio.to_thread(self._reading, name)
        self._boards.explain(self._station.parks[name].board, found if isinstance(found, NoReading) else None)
        return found

    def _reading(self, name: str) -> Comparison | NoReading:
        """Return the reading of now; what was measured before midnight is no reading of this day."""
        now, zone = self._now(), ZoneInfo(self._parks[name].timezone)
        found = self._station.reading(name, now)
        over = isinstance(found, Comparison) and found.measured_at.astimezone(zone).date() < now.astimezone(zone).date()
        return NoReading.NO_CURRENT if over else found

    def _is_due(self, board: str, found: Comparison) -> bool:
        asked_at = self._asked_at.get(board)
        if asked_at is not None and self._monotonic() - asked_at < self._settings.message_gap:
            return False
        view = self._boards.view(board)
        if view and view.blanked_until:
            return False
        if view is None or view.message is None or view.age is None:
            return True
        shown = (view.message.yesterday_temp, view.message.today_temp)
        changed = shown != (found.reading.yesterday, found.reading.today)
        return changed or view.age >= self._settings.renew_seconds

    async def _write(self, board: str, park: Park, found: Comparison) -> None:
        scene = park.scene(self._now().astimezone(ZoneInfo(park.timezone)).date())
        try:
            written = await self._writer.write(
                Asked(found.reading, scene, park), board, uuid.uuid4().hex, measured_at=found.measured_at
            )
        except MessageError:  # the model worked for it; while it is down, the next look may try at once
            self._asked_at[board] = self._monotonic()
            raise
        self._asked_at[board] = self._monotonic()
        if not written.not_shown:
            self._metrics.shown((self._now() - found.measured_at).total_seconds())


def _reason(error: Exception) -> str:
    return error.what if isinstance(error, SignboardError) else "too many boards"
