"""Simulated air temperature of a Korean park: a seed and a time → °C, and what a thermometer there says.

The same seed gives the same weather whenever it is asked for, so yesterday can be sent today. It is the sum of the
season's mean (about Seoul's), the day's course, highs and lows of some days, clouds, turbulence and a cold front now
and then.
"""

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
SUN = timedelta(hours=8.5)  # the sun's time in Korea, seen from UTC
DAY = 86400.0  # seconds
YEAR = 365.25 * DAY
COLDEST = 20 * DAY  # since New Year
WARMEST_HOUR = 14.5  # by the sun
FRONTS_EVERY = 4 * DAY  # one at most in each such span
FRONT_SHARE = 0.7  # of the spans that have one


class Air:
    """The weather of one place.

    Args:
        seed: equal seeds have equal weather.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def at(self, moment: datetime) -> float:
        """Return the air temperature at an aware time, °C, with all its decimals."""
        seconds = (moment - EPOCH + SUN).total_seconds()
        summer = 0.5 - 0.5 * math.cos(2 * math.pi * (seconds - COLDEST) / YEAR)  # 0 in January, 1 in July
        season = 28.5 * summer - 2.0
        weather = (3.5 - 1.8 * summer) * self._noise("weather", seconds, 2 * DAY)
        return season + weather + self._day(seconds) + self._small(seconds) + self._fronts(seconds, 1 - 0.5 * summer)

    def _day(self, seconds: float) -> float:
        """Warm in the afternoon, coldest at sunrise; cloudy days have little of it."""
        sky = 1 - 0.7 * min(1.0, abs(self._noise("sky", seconds, DAY)))
        hour = 2 * math.pi * (seconds % DAY / 3600 - WARMEST_HOUR) / 24
        return 5.5 * sky * (math.cos(hour) + 0.2 * math.cos(2 * hour))

    def _small(self, seconds: float) -> float:
        """Clouds that pass, and turbulence."""
        return 0.3 * self._noise("clouds", seconds, 1800) + 0.12 * self._noise("turbulence", seconds, 300)

    def _fronts(self, seconds: float, strength: float) -> float:
        """Cold air that comes within an hour and is gone a day later; of this span and the one before."""
        span = int(seconds // FRONTS_EVERY)
        return sum(strength * _front(self._seed, one, seconds) for one in (span - 1, span))

    def _noise(self, name: str, seconds: float, scale: float) -> float:
        """Return smooth noise of about ±1 that changes within `scale` seconds."""
        place = math.floor(seconds / scale)
        part = seconds / scale - place
        blend = part * part * (3 - 2 * part)
        return (1 - blend) * _lattice(self._seed, name, place) + blend * _lattice(self._seed, name, place + 1)


@lru_cache(maxsize=65536)
def _lattice(seed: int, name: str, place: int) -> float:
    return random.Random(f"{seed} {name} {place}").gauss(0, 1)


@lru_cache(maxsize=65536)
def _front_of(seed: int, span: int) -> tuple[float, float, float] | None:
    """Return a span's front: when it begins in seconds, how many it takes, and its °C; None: no front."""
    randomness = random.Random(f"{seed} front {span}")
    if randomness.random() > FRONT_SHARE:
        return None
    begin = (span + randomness.random()) * FRONTS_EVERY
    return begin, randomness.uniform(600, 3600), randomness.uniform(-8, -2)


def _front(seed: int, span: int, seconds: float) -> float:
    front = _front_of(seed, span)
    if front is None or seconds < front[0]:
        return 0.0
    begin, takes, degrees = front
    since = seconds - begin
    return degrees * min(1.0, since / takes) * math.exp(-since / DAY)


@dataclass(frozen=True, slots=True)
class Thermometer:
    """A sensor in the air.

    Args:
        air: the weather around it.
        randomness: of its noise.
        place: sun or shade, °C above the park's mean.
        noise: of one measurement, °C.
        resolution: the smallest change that it reports, °C.
    """

    air: Air
    randomness: random.Random
    place: float = 0.0
    noise: float = 0.08
    resolution: float = 0.1

    def read(self, moment: datetime) -> float:
        """Return what it measures at an aware time, °C."""
        value = self.air.at(moment) + self.place + self.randomness.gauss(0, self.noise)
        return round(round(value / self.resolution) * self.resolution, 4)
