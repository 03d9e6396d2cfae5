"""Signs follow their boards: what is sent when, what is known, and what every way of going stale leaves on the sign."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from benchmarks.sign_faults import show_now
from clients import SignMessage
from core.park import Element, Park
from core.reading import Reading
from core.sign import DEFAULT_SIGN
from gateway.boards import Boards
from gateway.signs import RETRY_SECONDS, SignKeeper, State
from signs.dabit import Dabit, DabitSettings
from signs.errors import SignSilent
from signs.park_signs import DabitFile, ParkSign
from signs.simulator import Controller, Lie
from tests.unit.gateway.test_boards import Clock
from tests.unit.signs.test_dabit import Wire

PARK = Park("공원", (Element("산책로"),), timezone="Asia/Seoul")
ONE_PAGE = "어제보다 10도 올라 포근합니다."
TWO_PAGES = "어제보다 10도 올라 포근합니다. 산책로를 걸어 보세요."
NOON = 3  # UTC, noon in Seoul
MAX_AGE = 2 * 3600.0  # seconds


class Scene:
    """A board, a sign's keeper, a driver, a controller; and one clock for all of them."""

    def __init__(self, hour: int = NOON, timer: int | None = None, **told: Any) -> None:
        self.clock = Clock(hour)
        self.boards = Boards(
            DEFAULT_SIGN, MAX_AGE, 10, ai_mark=True, now=lambda: self.clock.now, monotonic=lambda: self.clock.monotonic
        )
        self.controller = Controller(size=(160, 32), clock=lambda: self.clock.monotonic)
        self.wire = Wire(self.controller)
        settings = DabitSettings(20, 2, timer=timer * 60.0 if timer else None)
        file = DabitFile(driver="dabit", url="tcp://sign", timer_minutes=timer, **told)
        self.keeper = SignKeeper(
            ParkSign("gate", "lake", "lake", "Asia/Seoul", file, DEFAULT_SIGN),
            Dabit(self.wire, settings, lambda: self.clock.monotonic),
            self.boards,
            now=lambda: self.clock.now,
            monotonic=lambda: self.clock.monotonic,
        )

    def write(self, text: str = ONE_PAGE) -> None:
        """Let the board show a message."""
        message = SignMessage(text, Reading(10, 20), None, 1, 0.1)
        assert show_now(self.boards, "lake", self.boards.ticket("lake", PARK), message) is None

    async def pass_(self, seconds: float) -> None:
        """Let time pass, and the keeper work in it."""
        end = self.clock.monotonic + seconds
        while self.clock.monotonic < end:
            pause = await self.keeper.step()
            self.clock.passes(seconds=min(max(pause, 0.01), end - self.clock.monotonic))
        await self.keeper.step()

    @property
    def state(self) -> State:
        return self.keeper.delivery.state

    @property
    def shows(self) -> str:
        """What the sign shows, without the spaces that fill a line."""
        return " ".join(self.controller.text.split())


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def test_a_sign_is_blanked_first_then_shows_its_boards_message_and_confirms_it() -> None:
    async def work() -> None:
        scene = Scene()
        assert scene.state is State.STARTING
        await scene.pass_(1)
        assert (scene.state, scene.shows, scene.keeper.delivery.text) == (State.BLANK, "", None)
        scene.write()
        await scene.pass_(1)
        delivery = scene.keeper.delivery
        assert (scene.state, scene.shows, delivery.text) == (State.SHOWN, ONE_PAGE, ONE_PAGE)
        assert delivery.confirmed_at
        assert delivery.failed_since is None

    run(work)


def test_pages_take_turns_and_a_new_message_begins_with_its_first() -> None:
    async def work() -> None:
        scene = Scene()
        scene.write(TWO_PAGES)
        seen = []
        for _ in range(4):
            await scene.pass_(5)
            seen.append(scene.shows)
        first, second = TWO_PAGES[: len(ONE_PAGE)], TWO_PAGES[len(ONE_PAGE) + 1 :]
        assert set(seen) == {first, second}
        assert all(one != other for one, other in itertools.pairwise(seen))
        scene.write(TWO_PAGES.replace("10", "11"))
        await scene.pass_(0.5)
        assert scene.shows == first.replace("10", "11")

    run(work)


def test_the_same_page_is_confirmed_again_once_a_refresh_and_no_more_often() -> None:
    async def work() -> None:
        scene = Scene(refresh_seconds=60)
        scene.write()
        await scene.pass_(600)
        assert 10 <= scene.controller.commands <= 12

    run(work)


def test_a_sign_that_lost_its_ram_is_filled_again_within_a_refresh() -> None:
    async def work() -> None:
        scene = Scene(refresh_seconds=30)
        scene.write()
        await scene.pass_(2)
        scene.controller.reset()
        assert scene.shows == ""
        await scene.pass_(30)
        assert scene.shows == ONE_PAGE

    run(work)


def test_a_sign_whose_line_broke_is_filled_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene()
        scene.write()
        await scene.pass_(2)
        scene.controller.reset()
        monkeypatch.setattr(Wire, "lost", property(lambda _: scene.controller.text == ""))
        await scene.pass_(1)
        assert scene.shows == ONE_PAGE

    run(work)


def test_while_something_new_is_on_its_way_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene(refresh_seconds=10)
        seen: list[tuple[State, str | None]] = []
        ask = Wire._ask

        async def watched(wire: Wire, command: bytes, find: Any) -> bytes:
            seen.append((scene.state, scene.keeper.delivery.text))
            return await ask(wire, command, find)

        monkeypatch.setattr(Wire, "_ask", watched)
        await scene.pass_(1)
        scene.write()
        await scene.pass_(10)
        blank, new, refreshed = seen
        assert (blank, new) == ((State.SENDING, None), (State.SENDING, None))
        assert refreshed == (State.SHOWN, ONE_PAGE), "the same page again: it was confirmed before"

    run(work)


def test_a_sign_that_was_away_gets_the_present_message_and_never_an_old_one() -> None:
    async def work() -> None:
        scene = Scene()
        scene.write()
        await scene.pass_(1)
        scene.controller.odds = {Lie.SILENT: 1}
        scene.write(ONE_PAGE.replace("10", "11"))
        await scene.pass_(60)
        delivery = scene.keeper.delivery
        assert (scene.state, delivery.text) == (State.FAILED, None)
        assert delivery.failed_since
        assert "did not answer" in str(delivery.error)
        scene.write(ONE_PAGE.replace("10", "12"))
        scene.controller.odds = {}
        seen = set()
        for _ in range(30):
            await scene.pass_(1)
            seen.add(scene.shows)
        assert seen == {ONE_PAGE, ONE_PAGE.replace("10", "12")}, "never the one with 11"
        assert scene.state is State.SHOWN
        assert not delivery.failed_since
        assert not delivery.error

    run(work)


def test_failures_are_retried_with_growing_pauses_up_to_a_limit() -> None:
    async def work() -> None:
        scene = Scene()
        scene.controller.odds = {Lie.SILENT: 1}
        await scene.pass_(60)
        assert scene.keeper.delivery.results["failed"] == 8  # at 0, 1, 3, 7, 15, 30, 45 and 60 s
        assert RETRY_SECONDS == (1, 15)

    run(work)


def test_an_answer_that_says_nothing_else_is_believed() -> None:
    """Every lie but a lost RAM is seen at once: the state is never better than the sign."""

    async def work() -> None:
        for lie in (Lie.SILENT, Lie.FAILED, Lie.GARBAGE, Lie.HALF, Lie.OTHER_ADDRESS):
            scene = Scene()
            scene.controller.odds = {lie: 1}
            scene.write()
            await scene.pass_(1)
            assert scene.state is State.FAILED, lie

    run(work)


def test_a_message_that_the_sign_cannot_show_is_refused_and_the_sign_is_blank() -> None:
    async def work() -> None:
        scene = Scene()
        scene.write()
        await scene.pass_(1)
        scene.write("어제보다 10도 올라 뷁합니다.")
        await scene.pass_(120)
        delivery = scene.keeper.delivery
        assert (scene.state, scene.shows) == (State.REFUSED, "")
        assert "뷁" in str(delivery.error)
        assert delivery.results["refused"] == 1
        scene.write()
        await scene.pass_(1)
        assert (scene.state, scene.shows, delivery.error) == (State.SHOWN, ONE_PAGE, None)

    run(work)


@pytest.mark.parametrize(
    "text", ["어제보다 10도 올라 뷁합니다.", "어제보다 1/2도 올라 포근합니다.", f"어제보다 {'포근' * 11}합니다."]
)
def test_the_log_says_why_a_message_is_refused_and_never_quotes_it(text: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        scene = Scene()
        scene.write(text)
        with caplog.at_level("ERROR", "signboard.gateway"):
            await scene.pass_(1)
        assert scene.state is State.REFUSED

    run(work)
    (record,) = caplog.records
    why = str(vars(record)["why"])
    assert why
    assert not any(word in why for word in text.rstrip(".").split())


def test_a_sign_is_dark_outside_its_hours() -> None:
    async def work() -> None:
        scene = Scene(hour=12, hours="06:00-22:00")  # 21 o'clock in Seoul
        scene.write()
        await scene.pass_(3590)
        assert scene.shows == ONE_PAGE
        await scene.pass_(20)
        assert (scene.shows, scene.state) == ("", State.BLANK)

    run(work)


# Stale is blank, on every path.


def test_a_silent_sensor_or_a_model_that_is_down_leaves_the_sign_blank_at_the_messages_limit() -> None:
    async def work() -> None:
        scene = Scene()
        scene.write()
        await scene.pass_(MAX_AGE - 2)
        assert scene.shows == ONE_PAGE
        await scene.pass_(2)
        assert (scene.shows, scene.state) == ("", State.BLANK)

    run(work)


def test_midnight_blanks_the_sign() -> None:
    async def work() -> None:
        scene = Scene(hour=14)  # 23 o'clock in Seoul
        scene.write()
        await scene.pass_(3598)
        assert scene.shows == ONE_PAGE
        await scene.pass_(2)
        assert scene.shows == ""

    run(work)


@pytest.mark.parametrize("hours", [-12, 12])
def test_a_clock_that_steps_never_lengthens_a_message(hours: int) -> None:
    async def work() -> None:
        scene = Scene()
        scene.write()
        await scene.pass_(3600)
        scene.clock.steps(hours=hours)
        await scene.pass_(2)
        assert scene.shows == ("" if hours > 0 else ONE_PAGE)
        await scene.pass_(3600)
        assert scene.shows == ""

    run(work)


def test_a_cut_line_leaves_the_message_until_the_line_is_back_and_then_blanks_it_at_once() -> None:
    async def work() -> None:
        scene = Scene()
        scene.write()
        await scene.pass_(1)
        scene.controller.odds = {Lie.SILENT: 1}
        await scene.pass_(MAX_AGE + 60)
        assert scene.shows == ONE_PAGE, "without a timer the controller keeps it: the state says that nobody knows"
        assert scene.state is State.FAILED
        scene.controller.odds = {}
        await scene.pass_(RETRY_SECONDS[1] + 1)
        assert (scene.shows, scene.state) == ("", State.BLANK)

    run(work)


def test_with_a_timer_a_sign_blanks_itself_when_its_line_is_cut_or_the_gateway_is_killed() -> None:
    async def work() -> None:
        scene = Scene(timer=10)
        scene.write()
        await scene.pass_(3600)
        assert scene.shows == ONE_PAGE, "it is sent again before the controller's time is over"
        scene.controller.odds = {Lie.SILENT: 1}  # the same as no gateway: nothing reaches the sign
        await scene.pass_(9 * 60 - 1)
        assert scene.shows == ONE_PAGE
        await scene.pass_(62)
        assert scene.shows == ""

    run(work)


def test_with_a_timer_no_message_outlives_its_limit_even_if_the_line_is_cut_just_before() -> None:
    async def work() -> None:
        for cut in (1, 5, 30, 100, 500):
            scene = Scene(timer=10)
            scene.write()
            await scene.pass_(MAX_AGE - cut)
            scene.controller.odds = {Lie.SILENT: 1}
            await scene.pass_(cut)
            assert scene.shows == "", cut

    run(work)


def test_a_sign_whose_page_has_too_little_time_left_is_blank_and_says_so() -> None:
    async def work() -> None:
        scene = Scene(timer=10)
        scene.write()
        await scene.pass_(MAX_AGE - 2)  # less than the controller may wait for an answer
        assert scene.boards.view("lake").message  # type: ignore[union-attr]
        assert (scene.shows, scene.state, scene.keeper.delivery.text) == ("", State.BLANK, None)

    run(work)


def test_a_gateway_that_stops_blanks_the_sign() -> None:
    async def work() -> None:
        scene = Scene()
        scene.write()
        await scene.pass_(1)
        await scene.keeper.blank()
        assert scene.shows == ""
        scene.controller.odds = {Lie.SILENT: 1}
        await scene.keeper.blank()  # it does not fail for a sign that is away

    run(work)


def test_a_fault_of_ours_does_not_end_the_following(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        scene = Scene()
        steps = 0

        async def broken() -> float:
            nonlocal steps
            steps += 1
            raise RuntimeError("a fault of ours") if steps == 1 else SignSilent("away")

        monkeypatch.setattr(scene.keeper, "step", broken)
        monkeypatch.setattr("gateway.signs.LOOK_SECONDS", 0.01)
        task = asyncio.create_task(scene.keeper.run())
        async with asyncio.timeout(5):
            while steps < 3:
                await asyncio.sleep(0.01)
        task.cancel()

    run(work)


def test_a_sign_that_an_administrator_blanks_stays_blank_while_its_board_goes_on() -> None:
    async def work() -> None:
        scene = Scene()
        scene.write()
        await scene.pass_(1)
        until = scene.keeper.blank_for(600)
        await scene.pass_(1)
        assert (scene.state, scene.shows, scene.keeper.blanked_until) == (State.BLANK, "", until)
        scene.write(ONE_PAGE.replace("10", "11"))
        await scene.pass_(590)
        assert scene.shows == ""
        await scene.pass_(20)
        assert (scene.shows, scene.keeper.blanked_until) == (ONE_PAGE.replace("10", "11"), None)
        scene.keeper.blank_for(600)
        await scene.pass_(1)
        scene.keeper.unblank()
        await scene.pass_(1)
        assert scene.shows == ONE_PAGE.replace("10", "11")

    run(work)
