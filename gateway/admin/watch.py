"""The gateway looks at itself, even if nobody looks at the page: only so it knows since when something is wrong.

In: its metrics, the model's health, the park files, its parts. Out: the faults of the last look.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from core.errors import ServiceError
from gateway.admin.faults import ORDER, PATIENCE, URGENT, Fault, faults
from gateway.admin.park_files import ParkFiles
from gateway.admin.scrape import History, Scrape
from gateway.follow import Follower
from gateway.log import LOG
from gateway.signs import Signs
from gateway.writer import Health
from sensors.station import Station

LOOK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What runs in the gateway, as far as the administrator's page tells of it."""

    registry: CollectorRegistry
    health: Health
    signs: Signs
    station: Station | None
    follower: Follower | None


@dataclass(frozen=True, slots=True)
class Known:
    """A fault and since when it is known."""

    fault: Fault
    since: datetime

    @property
    def urgent(self) -> bool:
        """Whether its alert calls somebody at night."""
        return self.fault.code in URGENT


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found: when it was, the faults with the most urgent first, the model's fingerprint if it answers."""

    at: datetime
    faults: tuple[Known, ...]
    fingerprint: str | None


class Watch:
    """Looks now and then, and remembers since when each fault is there.

    Args:
        parts: what is looked at.
        files: the park files.
        now: the wall clock, for people.
        monotonic: a clock in seconds that never steps.
    """

    def __init__(
        self,
        parts: Parts,
        files: ParkFiles,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._files = files
        self._now = now
        self._monotonic = monotonic
        self._history = History(monotonic)
        self._began: dict[tuple[str, str], tuple[datetime, float]] = {}  # fault → when, by both clocks

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # a fault of ours at one look must not end the watch
                LOG.exception("unexpected error while the gateway looked at itself")

    async def look(self) -> Look:
        """Return what is wrong now."""
        model = await self._model()
        files = await asyncio.to_thread(lambda: list(self._files.faults()))
        scrape = Scrape(self._parts.registry)
        self._history.keep(scrape)
        found = [*faults(scrape, self._history), *files, *self._follower()]
        if isinstance(model, Fault):  # the others are the same fault, seen by requests
            found = [model, *(fault for fault in found if fault.code not in ("BreakerOpen", "LookFailed"))]
        known = [self._known(fault) for fault in found]
        here = {(fault.code, fault.subject) for fault in found}
        self._began = {key: began for key, began in self._began.items() if key in here}
        lasting = (one for one in known if self._lasts(one.fault))
        ordered = sorted(lasting, key=lambda one: (not one.urgent, ORDER.index(one.fault.code), one.since))
        return Look(self._now(), tuple(ordered), None if isinstance(model, Fault) else model)

    async def _model(self) -> str | Fault:
        """Return the model's fingerprint, or what is wrong with it."""
        try:
            return await self._parts.health.check()
        except ServiceError as error:
            return Fault("ModelDown", detail=error.what)

    def _follower(self) -> Iterator[Fault]:
        for park, why in self._parts.follower.failures.items() if self._parts.follower else ():
            yield Fault("LookFailed", park, why)

    def _lasts(self, fault: Fault) -> bool:
        began = self._began[fault.code, fault.subject][1]
        return self._monotonic() - began >= PATIENCE.get(fault.code, 0.0)

    def _known(self, fault: Fault) -> Known:
        """Return a fault with what the part that it concerns knows better than its metric."""
        began, _ = self._began.setdefault((fault.code, fault.subject), (self._now(), self._monotonic()))
        if fault.code in ("SignDeaf", "SignRefused"):
            delivery = self._parts.signs.keepers[fault.subject].delivery
            told = Fault(fault.code, fault.subject, f"{delivery.error or ''} {delivery.todo or ''}".strip())
            return Known(told, delivery.failed_since or began)
        if fault.code == "SensorSilent" and self._parts.station:
            latest = self._parts.station.state(fault.subject).latest
            return Known(fault, latest.observation.received_at if latest else began)
        return Known(fault, began)
