"""A reading: yesterday's and today's temperature in whole °C, checked once, trusted afterwards."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from numbers import Real

from core.errors import ReadingError

AIR_LIMITS = (-40, 60)  # °C; outside, no air temperature of a park: the sensor is broken
USUAL_RANGE = (-35, 45)  # °C; the range of the training set, and so of every reading. Korea's records: -32.6 and 41.0
USUAL_CHANGE = 25  # °C between the two days; as above


@dataclass(frozen=True, slots=True)
class Reading:
    """Two whole temperatures in °C. Build one with `Reading.of`, which checks and rounds."""

    yesterday: int
    today: int

    @classmethod
    def of(cls, yesterday: float, today: float) -> "Reading":
        """Check and round two temperatures in °C.

        Halves round away from zero (2.5 → 3, -2.5 → -3), as on a thermometer's display. Only readings that the model
        was trained on are accepted: for others it finds no message, and a sign is better dark than wrong.

        Raises:
            ReadingError: a temperature is not a number, not finite or outside -35…45 °C, or the two are more than 25 °C
                apart.
        """
        reading = cls(_whole_degrees("yesterday", yesterday), _whole_degrees("today", today))
        if abs(reading.change) > USUAL_CHANGE:
            raise ReadingError(
                f"today is {reading.change:+d} °C from yesterday; the model was trained on {USUAL_CHANGE} °C at most.",
                "Check both sensors; nothing was sent.",
            )
        return reading

    @property
    def change(self) -> int:
        """Today minus yesterday, °C."""
        return self.today - self.yesterday

    @property
    def direction(self) -> str:
        """`rise`, `fall` or `same`."""
        return "rise" if self.change > 0 else "fall" if self.change < 0 else "same"


def usual_grid() -> Iterator[Reading]:
    """Yield all 3,481 usual readings: both in -35…45 °C, at most 25 °C apart."""
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
    for (low, high), what, todo in (
        (AIR_LIMITS, "no air temperature of a park", "Check the sensor"),
        (USUAL_RANGE, "outside the range that the model was trained on", "Leave the sign blank"),
    ):
        if not low <= degrees <= high:
            raise ReadingError(f"{name} is {exact} °C, {what} ({low}…{high} °C).", f"{todo}; nothing was sent.")
    return int(degrees)
