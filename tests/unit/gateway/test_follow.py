"""Following the sensors: when a message is due, what midnight ends, what a missing reading leaves on the board."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from opentelemetry.trace import NoOpTracer

from clients import AsyncSignboardClient, SignMessage
from core.errors import MessageError, ServerUnavailable, ServiceError
from core.park import Element, Park
from core.reading import Reading
from gateway.boards import Boards
from gateway.follow import Follower
from gateway.metrics import Metrics
from gateway.overload import Breaker, Queue
from gateway.settings import GatewaySettings
from gateway.writer import Writer
from sensors.days import NoReading
from sensors.observation import Observation
from sensors.park_sensors import ParkSensors, Sensor
from sensors.quality import Checked, Flag, Rules
from sensors.source import Source
from sensors.station import Station
from sensors.store import SensorStore
from tests.unit.gateway.test_boards import Clock

GOOD = "어제보다 10도 올라 포근해졌습니다."
PARK = Park("공원", (Element("산책로"),), timezone="Asia/Seoul")
LAKE = ParkSensors((Sensor("lake-1", "own", None, Source("lake-1"), Rules()),), "lake", "Asia/Seoul")
SETTINGS = GatewaySettings(deadline=10, failures=100, message_gap=600, renew_seconds=3 * 3600)


class Model:
    """A client that answers every reading, or fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.fault: Exception | None = None

    async def say(self, yesterday: int, today: int, **_: object) -> SignMessage:
        self.asked.append((yesterday, today))
        if self.fault:
            raise self.fault
        return SignMessage(GOOD, Reading(yesterday, today), None, 1, 0.1)


class Scene:
    """A park with a sensor, a board, a model, and a clock that tests move."""

    def __init__(self, store: SensorStore, hour: int = 3) -> None:
        self.clock = Clock(hour)
        self.model = Model()
        self.boards = self.clock.boards()
        self.store = store
        self.station = Station({"lake": LAKE}, store, lambda: self.clock.now)

        async def never() -> None:
            raise ServiceError("down")

        breaker = Breaker(never, 100, 1)
        client = cast(AsyncSignboardClient, self.model)
        writer = Writer(SETTINGS, client, self.boards, Queue(9, 9), breaker, Metrics(), NoOpTracer())
        self.follower = Follower(
            SETTINGS,
            {"lake": PARK},
            self.station,
            writer,
            self.boards,
            Metrics(),
            now=lambda: self.clock.now,
            monotonic=lambda: self.clock.monotonic,
        )

    def measured(self, value: float, flag: Flag = Flag.GOOD, **ago: float) -> None:
        """Put an observation into the store."""
        at = self.clock.now - timedelta(**ago)
        self.store.add(Checked(Observation("lake-1", value, at, at, f"{at} {value}"), flag))

    def both_days(self, yesterday: float, today: float) -> None:
        self.measured(yesterday, hours=24)
        self.measured(today)

    async def look(self) -> tuple[int, int] | None:
        """Look once; return the reading behind the board's message."""
        await self.follower.look("lake")
        view = self.boards.view("lake", blank=True)
        assert view
        return (view.message.yesterday_temp, view.message.today_temp) if view.message else None


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as store:
        yield Scene(store)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def why(boards: Boards) -> NoReading | None:
    view = boards.view("lake", blank=True)
    assert view
    return view.no_reading


def test_a_message_is_written_when_the_reading_changes_and_the_gap_is_over(scene: Scene) -> None:
    async def work() -> None:
        scene.both_days(10, 16)
        assert await scene.look() == (10, 16)
        scene.clock.passes(minutes=5)
        scene.measured(10, hours=24)
        scene.measured(19)
        assert await scene.look() == (10, 16), "the gap"
        scene.clock.passes(minutes=6)
        scene.measured(10, hours=24)
        scene.measured(19)
        assert await scene.look() == (10, 19)
        assert scene.model.asked == [(10, 16), (10, 19)]

    run(work)


def test_an_unchanged_reading_is_written_anew_when_its_message_gets_old(scene: Scene) -> None:
    async def work() -> None:
        for _ in range(13):  # three hours
            scene.both_days(10, 16)
            await scene.look()
            scene.clock.passes(minutes=15)
        assert len(scene.model.asked) == 2

    run(work)


def test_no_reading_leaves_the_message_until_it_is_stale_and_says_why(scene: Scene) -> None:
    async def work() -> None:
        scene.both_days(10, 16)
        await scene.look()
        assert why(scene.boards) is None
        scene.clock.passes(minutes=40)
        scene.measured(85, Flag.BAD)
        assert await scene.look() == (10, 16)
        assert why(scene.boards) is NoReading.SENSOR_BAD
        scene.clock.passes(hours=6)
        assert await scene.look() is None
        assert why(scene.boards) is NoReading.NO_CURRENT
        assert scene.model.asked == [(10, 16)]

    run(work)


def test_what_was_measured_before_midnight_is_no_reading_of_the_new_day(tmp_path: Path) -> None:
    async def work() -> None:
        with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as store:
            scene = Scene(store, hour=14)  # 23 o'clock in Seoul
            scene.clock.passes(minutes=55)
            scene.both_days(10, 16)
            scene.clock.passes(minutes=10)
            assert await scene.look() is None
            assert why(scene.boards) is NoReading.NO_CURRENT
            scene.both_days(10, 16)
            assert await scene.look() == (10, 16)

    run(work)


@pytest.mark.parametrize("hours", [-10, 10])
def test_a_clock_that_steps_makes_no_wrong_message(hours: int, scene: Scene) -> None:
    """Until data of the new time arrive there is no reading, and no message of another one."""

    async def work() -> None:
        scene.both_days(10, 16)
        scene.measured(-5, hours=34)  # what lies 24 h before the stepped clock's now
        scene.measured(-5, hours=14)
        await scene.look()
        scene.clock.steps(hours=hours)
        scene.clock.passes(minutes=15)
        assert await scene.look() in (None, (10, 16))
        assert why(scene.boards) is NoReading.NO_CURRENT
        scene.both_days(12, 17)
        assert await scene.look() == (12, 17)
        assert scene.model.asked == [(10, 16), (12, 17)]

    run(work)


def test_a_model_that_is_down_is_tried_at_every_look_and_one_that_finds_no_message_after_the_gap(scene: Scene) -> None:
    async def work() -> None:
        scene.both_days(10, 16)
        for fault, tries in ((ServerUnavailable("down"), 3), (MessageError("none passed"), 4)):
            scene.model.fault = fault
            for _ in range(3):
                with pytest.raises(type(fault)) if len(scene.model.asked) < tries else nullcontext():
                    await scene.look()
            assert len(scene.model.asked) == tries
        scene.model.fault = None
        scene.clock.passes(minutes=11)
        assert await scene.look() == (10, 16)

    run(work)


def test_one_parks_fault_stops_neither_the_others_nor_the_next_look(tmp_path: Path) -> None:
    """The store of one look cannot be read; the following goes on."""

    async def work() -> None:
        with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as store:
            scene = Scene(store)
            scene.follower._settings = SETTINGS.model_copy(update={"look_seconds": 0.01})
            looks = 0

            async def broken(_name: str) -> None:
                nonlocal looks
                looks += 1
                raise ServiceError("down") if looks % 2 else RuntimeError("a fault of ours")

            scene.follower.look = broken  # type: ignore[method-assign, assignment]
            following = asyncio.create_task(scene.follower.run())
            async with asyncio.timeout(5):
                while looks < 5:
                    await asyncio.sleep(0.01)
            following.cancel()

    run(work)


def test_after_a_start_a_new_observation_does_not_wait_for_its_parks_turn(tmp_path: Path) -> None:
    """The second of two parks has its first look half a minute after the start, or when its sensor reports."""

    async def work() -> None:
        with SensorStore.open(f"sqlite:///{tmp_path / 'signboard.db'}") as store:
            station = Station({"hill": LAKE, "lake": LAKE}, store, shared=False)
            scene = Scene(store)
            scene.follower._station = station
            scene.follower._news = {name: asyncio.Event() for name in station.parks}
            looked: list[str] = []

            async def look(name: str) -> None:
                looked.append(name)

            scene.follower.look = look  # type: ignore[method-assign]
            following = asyncio.create_task(scene.follower.run())
            async with asyncio.timeout(5):
                while looked != ["hill"]:
                    await asyncio.sleep(0.01)
                station._tell({"lake"})
                while looked != ["hill", "lake"]:
                    await asyncio.sleep(0.01)
            following.cancel()

    run(work)


def test_a_board_that_is_kept_blank_requests_no_message_until_one_is_wanted(scene: Scene) -> None:
    async def work() -> None:
        scene.both_days(10, 20)
        assert await scene.look() == (10, 20)
        scene.boards.blank_for("lake", 3600)
        scene.clock.passes(minutes=20)
        scene.both_days(10, 22)
        assert await scene.look() is None
        assert len(scene.model.asked) == 1
        assert await scene.follower.write_now("lake") is None
        assert scene.model.asked[1:] == [(10, 22)]
        view = scene.boards.view_of("lake")
        assert view.message
        assert view.blanked_until is None
        assert await scene.follower.write_now("lake") is None, "due or not"
        assert len(scene.model.asked) == 3

    run(work)


def test_without_a_reading_nothing_is_written_and_the_board_stays_blank(scene: Scene) -> None:
    async def work() -> None:
        scene.boards.blank_for("lake", 3600)
        assert await scene.follower.write_now("lake") is NoReading.NO_CURRENT
        assert scene.model.asked == []
        assert scene.boards.view_of("lake").blanked_until

    run(work)
