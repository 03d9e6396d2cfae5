"""The sending times of a park's sensors. Not in the locustfile, whose import applies gevent to the whole process."""

import random
from collections.abc import Iterator


def schedule(every: float, hour: float, burst: float, rng: random.Random) -> Iterator[float]:
    """Yield the moments at which one board sends, seconds from the start: at its own pace, and on every hour."""
    own, late = rng.uniform(0, every), rng.uniform(0, burst)
    on_the_hour = hour + late
    while True:
        if own <= on_the_hour:
            yield own
            own += every
        else:
            yield on_the_hour
            on_the_hour += hour
