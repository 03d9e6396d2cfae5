"""Real signs follow their boards: each has a task that sends what its board shows, and knows whether that arrived.

In: boards, the signs of the parks. Out: commands to the signs' controllers, and for each sign a `Delivery` that says
what is confirmed. Retries happen here and nowhere below. Every attempt sends what the board shows at that moment, so a
sign that was away never gets an old message.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.errors import SignboardError
from gateway.audit import Entry, What
from gateway.blanking import Blanking
from gateway.boards import Boards
from gateway.deliveries import DeliveryKeeper, Times
from gateway.log import LOG
from gateway.metrics import Metrics
from gateway.state import State as Kept
from gateway.state import running
from signs.driver import Driver
from signs.errors import NotDrawable, SignError, SignTooLate
from signs.layout import Page
from signs.park_signs import ParkSign, drivers

RETRY_SECONDS = (1.0, 15.0)  # the first pause after a failure; doubled up to the last one; for ever
LOOK_SECONDS = 1.0  # between two looks at a sign's line and its board's clock
STOP_SECONDS = 10.0  # for blanking all signs when the gateway stops
STANDBY_SECONDS = 15.0  # between two looks at what the leader stored
GATEWAY = "gateway"  # who blanks signs at its end, in the audit log
HOLD_SHARE = 0.8  # of the time for which a controller holds a message, until it is sent again


class State(StrEnum):
    """What is known of a sign."""

    STANDBY = "standby"  # another gateway drives it
    STARTING = "starting"  # nothing was sent yet
    SENDING = "sending"  # something else than it showed was sent, and is not confirmed yet
    SHOWN = "shown"  # it confirmed a page of its board's message
    BLANK = "blank"  # it confirmed that it shows nothing
    REFUSED = "refused"  # it cannot show its board's message, and confirmed that it shows nothing
    FAILED = "failed"  # it did not confirm the last command: what it shows is unknown


@dataclass
class Delivery:
    """What became of what was sent to a sign; times are by the wall clock."""

    state: State = State.STARTING
    text: str | None = None  # the message of which it confirmed a page last; None: it is blank, or nobody knows
    sent_at: datetime | None = None
    confirmed_at: datetime | None = None
    failed_since: datetime | None = None  # the first of the failures in a row
    error: str | None = None  # of the last failure, or why the message is refused
    todo: str | None = None
    results: Counter[str] = field(default_factory=Counter)  # confirmed, failed, refused


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sign should show now; without a page nothing."""

    text: str | None = None
    page: Page = ()
    left: float = 0.0  # seconds for which it may be shown

    @property
    def key(self) -> tuple[str | None, Page]:
        """What makes it another thing to show."""
        return self.text, self.page


class SignKeeper:
    """Keeps one sign at what its board shows.

    Args:
        sign: which one, and how it is set up.
        driver: reaches it.
        boards: say what it should show.
        times: what is known of it from before.
        now: the wall clock, for the sign's hours and for people.
        monotonic: a clock in seconds that never steps.
    """

    def __init__(
        self,
        sign: ParkSign,
        driver: Driver,
        boards: Boards,
        times: Times = Times(),  # noqa: B008  # frozen
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sign = sign
        self.delivery = Delivery(
            sent_at=times.sent_at, confirmed_at=times.confirmed_at, failed_since=times.failed_since
        )
        self._driver = driver
        self._boards = boards
        self._now = now
        self._monotonic = monotonic
        self._woken = asyncio.Event()
        self._confirmed: tuple[str | None, Page] | None = None  # the last thing confirmed; None: nobody knows
        self._again_at = 0.0  # monotonic seconds
        self._failures = 0  # in a row
        self._laid_out: tuple[str, list[Page]] = ("", [])
        self._turn, self._turn_at = 0, 0.0  # the page, and when the next one comes
        self._blanking = Blanking()

    @property
    def times(self) -> Times:
        """What is kept of it beyond this process."""
        return Times(self.delivery.sent_at, self.delivery.confirmed_at, self.delivery.failed_since)

    async def run(self) -> None:
        """Follow the board for ever."""
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                self._woken.clear()
                pause = LOOK_SECONDS
                try:
                    pause = await self.step()
                except Exception:  # a fault of ours at one step must not leave the sign alone
                    LOG.exception("unexpected error while driving a sign", extra={"sign": self.sign.name})
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._woken.wait()
        finally:
            watching.cancel()

    @property
    def blanked_until(self) -> datetime | None:
        """Until when an administrator keeps the sign blank, whatever its board shows; None: nobody does."""
        return self._blanking.until(self._monotonic())

    def blank_for(self, seconds: float) -> datetime:
        """Keep the sign blank for so long, and send that now; return until when."""
        until = self._blanking.begin(seconds, self._now(), self._monotonic())
        self._woken.set()
        return until

    def unblank(self) -> None:
        """Let the sign follow its board again."""
        self._blanking.end()
        self._woken.set()

    async def blank(self) -> bool:
        """Blank the sign: once the gateway is gone, nobody would. Return whether it confirmed that."""
        try:
            await self._driver.blank()
        except SignError as error:
            LOG.warning("the sign could not be blanked", extra={"sign": self.sign.name, "why": error.what})
            return False
        return True

    async def step(self) -> float:
        """Send what is due, if something is; return the seconds until the next look."""
        now = self._monotonic()
        if self._failures and now < self._again_at:
            return min(self._again_at - now, LOOK_SECONDS)
        wanted = self._wanted(now)
        if wanted.key != self._confirmed or now >= self._again_at or self._driver.lost:
            await self._send(wanted)
        turn = self._turn_at if len(self._laid_out[1]) > 1 and wanted.page else self._again_at
        due = min(self._again_at, turn) - self._monotonic()
        return max(0.0, min(due, wanted.left or LOOK_SECONDS, LOOK_SECONDS))

    async def _watch(self) -> None:
        async for _ in self._boards.watch(self.sign.board):
            self._woken.set()

    def _wanted(self, now: float) -> Wanted:
        """Return what the sign should show by all clocks and its hours."""
        view = self._boards.view(self.sign.board)
        hours = self.sign.hours
        if view is None or view.message is None or view.seconds_left is None:
            return Wanted()
        if self._blanking.until(now):
            return Wanted()
        if hours and not hours.lit(self._now(), self.sign.timezone):
            return Wanted()
        text = view.message.generated_text
        pages = self._pages(text)
        if not pages:
            return Wanted()
        if now >= self._turn_at:
            self._turn, self._turn_at = self._turn + 1, now + self.sign.told.page_seconds
        return Wanted(text, pages[self._turn % len(pages)], view.seconds_left)

    def _pages(self, text: str) -> list[Page]:
        """Return a message's pages; none if the sign cannot show it."""
        if self._laid_out[0] != text:
            try:
                self._laid_out = (text, self._driver.pages(text))
                self._turn, self._turn_at = -1, 0.0  # a new message begins with its first page
            except NotDrawable as error:
                self._laid_out = (text, [])
                self.delivery.results["refused"] += 1
                LOG.error("the sign cannot show its message", extra={"sign": self.sign.name, "why": error.what})
                self.delivery.error, self.delivery.todo = error.what, error.todo
        return self._laid_out[1]

    async def _send(self, wanted: Wanted) -> None:
        self.delivery.sent_at = self._now()
        if self._confirmed != wanted.key and not self._failures:
            self.delivery.state, self.delivery.text = State.SENDING, None
        self._confirmed = None  # until it is confirmed, nobody knows what the sign shows
        try:
            shown, held = await self._deliver(wanted)
        except SignError as error:
            self._fail(error)
            return
        except BaseException:  # our own end, or a fault of ours
            self.delivery.state, self.delivery.text = State.FAILED, None
            raise
        self._confirm(shown, held)

    async def _deliver(self, wanted: Wanted) -> tuple[Wanted, float | None]:
        """Show a page, or nothing if there is none or its time is over; return what was confirmed, for how long."""
        if wanted.page:
            with suppress(SignTooLate):
                return wanted, await self._driver.show(wanted.page, wanted.left)
        await self._driver.blank()
        return Wanted(), None

    def _confirm(self, shown: Wanted, held: float | None) -> None:
        delivery, refresh = self.delivery, self.sign.told.refresh_seconds
        if self._failures:
            LOG.info("the sign is back", extra={"sign": self.sign.name})
        self._confirmed, self._failures = shown.key, 0
        self._again_at = self._monotonic() + (refresh if held is None else min(refresh, HOLD_SHARE * held))
        refused = self._is_refused()
        delivery.state = State.SHOWN if shown.page else State.REFUSED if refused else State.BLANK
        delivery.text = shown.text
        delivery.confirmed_at, delivery.failed_since = self._now(), None
        if not refused:
            delivery.error = delivery.todo = None
        delivery.results["confirmed"] += 1

    def _is_refused(self) -> bool:
        view = self._boards.view(self.sign.board)
        text, pages = self._laid_out
        return bool(view and view.message and view.message.generated_text == text and not pages)

    def _fail(self, error: SignError) -> None:
        delivery, (first, longest) = self.delivery, RETRY_SECONDS
        if not self._failures:
            LOG.warning("the sign does not confirm", extra={"sign": self.sign.name, "why": error.what})
        self._again_at = self._monotonic() + min(first * 2**self._failures, longest)
        self._failures = min(self._failures + 1, 30)
        delivery.state, delivery.text = State.FAILED, None
        delivery.failed_since = delivery.failed_since or self._now()
        delivery.error, delivery.todo = error.what, error.todo
        delivery.results["failed"] += 1


class Signs:
    """All signs: driven while this gateway leads, else only known from what the leader stored.

    Args:
        signs: of the parks.
        boards: say what they should show.
        kept: the database.
    """

    def __init__(self, signs: Sequence[ParkSign], boards: Boards, kept: Kept) -> None:
        self.keepers: dict[str, SignKeeper] = {}
        self.drives = False
        self._signs = signs
        self._boards = boards
        self._kept = kept

    @asynccontextmanager
    async def driving(self) -> AsyncIterator[None]:
        """Drive the signs for the length of a block, each in a task of its own; blank them at its end."""
        made = drivers(self._signs)
        await self._load(made)
        deliveries = DeliveryKeeper(self._kept.deliveries, lambda: {one.sign.name: one.times for one in keepers})
        keepers, self.drives = list(self.keepers.values()), True
        try:
            async with running(deliveries.run, *(keeper.run for keeper in keepers)):
                yield
        finally:
            self.drives = False
            await _blank_all(keepers, self._kept)
            await deliveries.write()
            for driver in made.values():
                await driver.close()

    async def follow(self) -> None:
        """While another gateway drives the signs, read what it stored; for ever."""
        while True:
            if not self.drives:
                await self._load(drivers(self._signs), State.STANDBY)
            await asyncio.sleep(STANDBY_SECONDS)

    async def _load(self, made: dict[str, Driver], state: State = State.STARTING) -> None:
        times: dict[str, Times] = {}
        try:
            times = await asyncio.to_thread(self._kept.deliveries.load)
        except SignboardError as error:  # a sign is driven whether its past is known or not
            LOG.warning("what signs confirmed could not be read", extra={"why": error.what})
        now = datetime.now(UTC)
        if self.drives:  # meanwhile
            return
        self.keepers = {
            sign.name: SignKeeper(sign, made[sign.name], self._boards, times.get(sign.name, Times()).known(now))
            for sign in self._signs
        }
        for keeper in self.keepers.values():
            keeper.delivery.state = state


@asynccontextmanager
async def knowing_signs(
    signs: Sequence[ParkSign], boards: Boards, kept: Kept, metrics: Metrics
) -> AsyncIterator[Signs]:
    """Know the signs for the length of a block; who drives them is the leader's matter."""
    found = Signs(signs, boards, kept)
    if not signs:
        yield found
        return
    metrics.registry.register(SignMetrics(found))
    async with running(found.follow):
        yield found


async def _blank_all(keepers: Sequence[SignKeeper], kept: Kept) -> None:
    confirmed: list[bool] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            confirmed = await asyncio.gather(*(keeper.blank() for keeper in keepers))
    at = datetime.now(UTC)
    blanked = (keeper.sign.name for keeper, done in zip(keepers, confirmed, strict=False) if done)
    entries = [Entry(at, GATEWAY, What.SIGN_BLANKED, name, "the gateway stopped driving it") for name in blanked]
    try:
        if entries:
            await asyncio.to_thread(kept.audit.add, *entries)
    except SignboardError as error:
        LOG.warning("the audit log could not be written", extra={"why": error.what})


class SignMetrics(Collector):
    """The signs' metrics, read from their keepers at every scrape.

    Args:
        signs: have the keepers.
    """

    def __init__(self, signs: Signs) -> None:
        self._signs = signs

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        age = GaugeMetricFamily("signboard_sign_confirmed_age_seconds", "Since the last confirmation.", labels=["sign"])
        states = GaugeMetricFamily("signboard_sign_state", "1: the sign's state.", labels=["sign", "state"])
        results = CounterMetricFamily("signboard_sign_deliveries", "Commands to signs.", labels=["sign", "result"])
        for name, keeper in self._signs.keepers.items():
            delivery = keeper.delivery
            if delivery.confirmed_at:
                age.add_metric([name], max(0.0, (datetime.now(UTC) - delivery.confirmed_at).total_seconds()))
            for state in State:
                states.add_metric([name, state], delivery.state is state)
            for result in ("confirmed", "failed", "refused"):
                results.add_metric([name, result], delivery.results[result])
        yield from (age, states, results)
