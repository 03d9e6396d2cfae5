"""A reading: yesterday's and today's temperature in whole °C, checked once, trusted afterwards."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from numbers import Real

from core.errors import ReadingError

HARD_LIMITS = (-50, 60)  # °C; outside, a sensor is broken
USUAL_RANGE = (-20, 45)  # °C; the range of the training set
USUAL_CHANGE = 25  # °C between the two days


@dataclass(frozen=True, slots=True)
class Reading:
    """Two whole temperatures in °C. Build one with `Reading.of`, which checks and rounds."""

    yesterday: int
    today: int

    @classmethod
    def of(cls, yesterday: float, today: float) -> "Reading":
        """Check and round two temperatures in °C.

        Halves round away from zero (2.5 → 3, -2.5 → -3), as on a thermometer's display.

        Raises:
            ReadingError: a temperature is not a number, not finite, or outside -50…60 °C.
        """
        return cls(_whole_degrees("yesterday", yesterday), _whole_degrees("today", today))

    @property
    def change(self) -> int:
        """Today minus yesterday, °C."""
        return self.today - self.yesterday

    @property
    def warnings(self) -> tuple[str, ...]:
        """The reasons why the model may be less reliable for this reading; empty for a usual one."""
        low, high = USUAL_RANGE
        found = [
            f"{name} {value} °C is outside the usual {low}…{high} °C"
            for name, value in (("yesterday", self.yesterday), ("today", self.today))
            if not low <= value <= high
        ]
        if abs(self.change) > USUAL_CHANGE:
            found.append(f"a change of {self.change:+d} °C is larger than the usual {USUAL_CHANGE} °C")
        return tuple(found)


def usual_grid() -> Iterator[Reading]:
    """Yield all 2,716 usual readings: both in -20…45 °C, at most 25 °C apart."""
    low, high = USUAL_RANGE
    for yesterday in range(low, high + 1):
        for today in range(max(low, yesterday - USUAL_CHANGE), min(high, yesterday + USUAL_CHANGE) + 1):
            yield Reading(yesterday, today)


def _whole_degrees(name: str, value: float) -> int:
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise ReadingError(f"{name} is {value!r}, not a number.", "Give the temperature in °C, such as 21 or -3.5.")
    try:
        finite = math.isfinite(value)
    except (OverflowError, ValueError):  # an integer too long for a float, a signalling NaN
        finite = False
    if not finite:
        raise ReadingError(f"{name} is not a finite temperature.", "Check the sensor; nothing was sent.")
    # Through the decimal text: 0.5 + 0.49999999999999994 is 1.0 in binary floating point.
    exact = value if isinstance(value, Decimal) else Decimal(str(float(value)))
    degrees = exact.to_integral_value(rounding=ROUND_HALF_UP)
    low, high = HARD_LIMITS
    if not low <= degrees <= high:
        raise ReadingError(f"{name} is {exact} °C, outside {low}…{high} °C.", "Check the sensor; nothing was sent.")
    return int(degrees)
