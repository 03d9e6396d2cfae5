"""What quality control must remember: each sensor's latest hours, loaded from the store, and what its neighbours say.

In: checked observations. Out: the slices that `check` wants. Everything here is also in the store; it may be dropped
at any time and is loaded again.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from datetime import datetime, timedelta

from sensors.quality import Checked, Rules, counts_for_others
from sensors.store import SensorStore

SPARE = timedelta(hours=1)  # kept beyond the window, so that the next late observation needs no look into the store
FAR_FUTURE = timedelta(days=36500)  # a sensor's clock may be ahead by any time; all of that is loaded, too


class Series:
    """One sensor's observations since a time, in the order of measurement.

    Args:
        sensor: its id.
        rules: what is known of it; they may be replaced, because the sensor shows its resolution only with time.
        store: has all observations.
        now: the arrival of the observation that this is loaded for.
    """

    def __init__(self, sensor: str, rules: Rules, store: SensorStore, now: datetime) -> None:
        self.rules = rules
        self._sensor = sensor
        self._store = store
        self._since = now - rules.window - SPARE
        self._checked = store.between(sensor, self._since, now + FAR_FUTURE)
        self._keys = {one.observation.key for one in self._checked}

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def before(self, moment: datetime) -> list[Checked]:
        """Return what `check` needs for an observation measured at `moment`: from the window before it to the newest.

        Raises:
            DatabaseError: the observation is late, and the store could not be read.
        """
        start = moment - self.rules.window
        if start < self._since:
            older = self._store.between(self._sensor, start, self._since)
            self._checked[:0] = older
            self._keys.update(one.observation.key for one in older)
            self._since = start
        return self._checked[bisect_left(self._checked, start, key=_measured) :]

    def add(self, checked: Checked) -> None:
        """Put an observation into its place."""
        insort(self._checked, checked, key=_measured)
        self._keys.add(checked.observation.key)

    def forget(self, moment: datetime) -> None:
        """Drop what no observation measured after `moment` needs; an older one loads it again."""
        since = moment - self.rules.window - SPARE
        old = bisect_left(self._checked, since, key=_measured)
        if old > len(self._checked) // 8:  # seldom, so that it costs nothing per observation
            self._keys.difference_update(one.observation.key for one in self._checked[:old])
            del self._checked[:old]
            self._since = since

    def for_others(self, around: datetime, near: timedelta) -> Checked | None:
        """Return the latest observation that says something about the air; None: the last one is long past."""
        return next((one for one in self._latest(around - near) if counts_for_others(one)), None)

    def _latest(self, since: datetime) -> Iterator[Checked]:
        for one in reversed(self._checked):
            if _measured(one) < since:
                return
            yield one


def _measured(checked: Checked) -> datetime:
    return checked.observation.measured_at
