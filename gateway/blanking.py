"""Until when an administrator keeps a board or a sign blank."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass
class Blanking:
    """Nothing at first. People are told by the wall clock; the monotonic clock, which never steps, decides.

    Args:
        ends: by the wall clock; None: nobody keeps it blank.
        ends_at: the same in monotonic seconds.
    """

    ends: datetime | None = None
    ends_at: float = 0.0

    def begin(self, seconds: float, now: datetime, at: float) -> datetime:
        """Keep it blank for so long, from `now` on, which is `at` in monotonic seconds; return until when."""
        self.ends, self.ends_at = now + timedelta(seconds=seconds), at + seconds
        return self.ends

    def end(self) -> None:
        """Keep it blank no longer."""
        self.ends = None

    def until(self, at: float) -> datetime | None:
        """Return until when it is kept blank at this monotonic second; None: it is not."""
        return self.ends if at < self.ends_at else None
