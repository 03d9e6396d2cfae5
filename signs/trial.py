"""Try a real sign by hand: a text on it, what it says of itself, and whether its timer works; and blank signs.

In: signs of the park files. Out: one line for each step. The text is the operator's, not the board's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from core.errors import SettingError
from signs.dabit import HOLDS, Dabit
from signs.driver import Driver
from signs.errors import SignError, SignRefused
from signs.park_signs import ParkSign, drivers

TEXT = "전광판 시험 1234. 가나다라 마바사아 자차카타."  # two pages: they must take turns
TIMER_TEXT = "2분 뒤 꺼져야 정상"
LOOK_SECONDS = 5.0  # for which each page stays
SHORTEST = min(HOLDS)

Say = Callable[[str], None]


def find(signs: Sequence[ParkSign], name: str) -> ParkSign:
    """Return the sign of a name.

    Raises:
        SettingError: there is none.
    """
    if (found := next((sign for sign in signs if sign.name == name), None)) is None:
        known = ", ".join(sign.name for sign in signs) or "none: add `signs` to a park's file"
        raise SettingError(f"There is no sign {name!r}.", f"Use one of: {known}.")
    return found


async def try_sign(sign: ParkSign, text: str, say: Say, *, seconds: float = LOOK_SECONDS, timer: bool = False) -> None:
    """Show a text page by page, ask for the status, blank the sign; or test its timer.

    Raises:
        SignError: the sign did not confirm a step.
        SettingError: the sign has no timer.
    """
    driver = drivers([sign])[sign.name]
    try:
        if timer:
            await _try_timer(driver, sign, say)
            return
        for page in driver.pages(text):
            await driver.show(page, 3600)
            say(f"confirmed: {' / '.join(page)}")
            await asyncio.sleep(seconds)
        say(await _status(driver))
        await driver.blank()
        say("confirmed: blank")
    finally:
        await driver.close()


async def blank_signs(signs: Sequence[ParkSign], say: Say) -> int:
    """Blank signs, all at once; return how many did not confirm it."""
    made = drivers(signs)

    async def blank(name: str, driver: Driver) -> bool:
        try:
            await driver.blank()
        except SignError as error:
            say(f"{name}: {error.what}")
            return False
        say(f"{name}: blank")
        return True

    work: list[Awaitable[bool]] = [blank(name, driver) for name, driver in made.items()]
    done = await asyncio.gather(*work)
    for driver in made.values():
        await driver.close()
    return done.count(False)


async def _status(driver: Driver) -> str:
    try:
        return await driver.status()
    except SignRefused as error:
        return f"{error.what} {error.todo}"


async def _try_timer(driver: Driver, sign: ParkSign, say: Say) -> None:
    if not isinstance(driver, Dabit):
        raise SettingError(f"The sign {sign.name} has no timer.", "Only DABIT controllers have one.")
    await driver.with_timer(SHORTEST).show((TIMER_TEXT,), 2 * SHORTEST)  # the limit must not shorten the timer
    say(f"confirmed: {TIMER_TEXT}")
    say(f"Look at the sign: if the text is gone in {SHORTEST / 60:g} minutes, write `timer_minutes: 10` for it.")
