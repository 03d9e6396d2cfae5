"""A message as a board shows it, with all that limits it: what memory and database both keep."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel

from core.season import Season
from core.sign import Sign

CLOCKS_DIFFER = timedelta(seconds=5)  # between two gateways at most; what is further in the future is not trusted


class Shown(BaseModel):
    """A message that a board shows or showed."""

    generated_text: str
    yesterday_temp: int
    today_temp: int
    season: Season | None  # what the model was told besides; null: nothing
    elements: list[str]
    written_at: datetime
    tries: int
    generation_time: float
    ai_generated: Literal[True] = True  # for machines; people read the AI mark


@dataclass(frozen=True, slots=True)
class Placed:
    """A message on a board.

    Args:
        id: of this message on this board; storing it twice is storing it once.
        board: which one.
        shown: the message.
        measured_at: when its reading was measured; a posted reading: when it arrived.
        blank_at: when it is stale by the wall clock: its age limit or the end of its reading's day.
        sign: it was laid out for.
        timezone: of its park.
        boot: the boot of the machine that wrote it, for which the next two count; empty: unknown.
        shown_at: when it was written, in monotonic seconds.
        stale_at: when it is stale, in monotonic seconds.
        who: the key that posted the reading; empty: sensors.
    """

    id: str
    board: str
    shown: Shown
    measured_at: datetime
    blank_at: datetime
    sign: Sign
    timezone: str
    boot: str
    shown_at: float
    stale_at: float
    who: str = ""

    def beats(self, other: "Placed | None", now: datetime) -> bool:
        """Return whether this message replaces another one: the younger measurement wins, at a tie the later writer.

        A message from the future tells that a clock was wrong: it is replaced by any.
        """
        return other is None or self.measured_at >= other.measured_at or other.is_from_future(now)

    def is_from_future(self, now: datetime) -> bool:
        """Return whether the wall clock stood later when the message was written or its reading measured."""
        return max(self.shown.written_at, self.measured_at) > now + CLOCKS_DIFFER
