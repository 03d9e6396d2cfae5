"""The resolution that a sensor shows: its steps → the smallest change that it usually reports.

In: a sensor's good values, in the order of arrival. Out: °C, or nothing while there are too few changes. A sensor that
rounds to whole degrees stands still for hours and is healthy; nobody should have to know that when it is plugged in.
"""

from collections import deque
from collections.abc import Iterable

from sensors.quality import Checked, Flag

CHANGES = 100  # that are remembered
FEWEST = 20  # before, nothing is known
SHARE = 0.1  # of the changes may be smaller: one that was interpolated, or two sensors behind one topic


class Resolution:
    """What one sensor's changes say.

    Args:
        values: earlier good values, the oldest first.
    """

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._last: float | None = None
        self._changes: deque[float] = deque(maxlen=CHANGES)
        self._shown: float | None = None
        for value in values:
            self._add(value)
        self._settle()

    @property
    def shown(self) -> float | None:
        """The resolution in °C; None: too few changes. Nine of ten changes were at least as large."""
        return self._shown

    def add(self, checked: Checked) -> None:
        """Take an observation; only good ones count, so that a spike says nothing."""
        if checked.flag is Flag.GOOD and self._add(checked.observation.value):
            self._settle()

    def _add(self, value: float) -> bool:
        changed = self._last is not None and value != self._last
        if changed and self._last is not None:
            self._changes.append(round(abs(value - self._last), 3))
        self._last = value
        return changed

    def _settle(self) -> None:
        if len(self._changes) >= FEWEST:
            self._shown = sorted(self._changes)[int(SHARE * len(self._changes))]
