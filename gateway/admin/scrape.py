"""The gateway's own metrics as values, and how they were up to an hour ago."""

import time
from collections import deque
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry

MINUTE, HOUR = 60.0, 3600.0  # seconds
Labelled = tuple[dict[str, str], float]


class Scrape:
    """All values of a registry at one moment.

    Args:
        registry: what is read; None: nothing, as before the first request.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._values: dict[str, list[Labelled]] = {}
        for family in registry.collect() if registry else ():
            for sample in family.samples:
                self._values.setdefault(sample.name, []).append((sample.labels, sample.value))

    def of(self, metric: str, **labels: str) -> Iterator[Labelled]:
        """Yield the labels and values of a metric that has these labels."""
        for named, value in self._values.get(metric, ()):
            if labels.items() <= named.items():
                yield named, value

    def total(self, metric: str, **labels: str) -> float:
        """Return the sum of those values."""
        return sum(value for _, value in self.of(metric, **labels))


class History:
    """Scrapes of the last hour, one a minute: counters say nothing without what they were.

    Args:
        clock: a clock in seconds that never steps.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: deque[tuple[float, Scrape]] = deque([(clock(), Scrape())])

    def keep(self, scrape: Scrape) -> None:
        """Remember a scrape, if the last one is a minute old; forget what is older than needed."""
        now = self._clock()
        if now - self._kept[-1][0] >= MINUTE:
            self._kept.append((now, scrape))
        while len(self._kept) > 1 and self._kept[1][0] <= now - HOUR:
            self._kept.popleft()

    def before(self, seconds: float) -> Scrape:
        """Return the newest scrape that is at least so old; if none is, the oldest."""
        old = [scrape for at, scrape in self._kept if at <= self._clock() - seconds]
        return old[-1] if old else self._kept[0][1]
