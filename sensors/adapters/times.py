"""When a value was measured: the payload's own time where it can be true, judged by the arrival.

| own time, seen from the arrival | it is | so |
|---|---|---|
| up to 5 minutes ahead | a clock slightly fast | measured then |
| up to 48 hours ago | live, late, or from a buffer | measured then |
| 48 hours to a year ago | last week's buffer, or a clock days slow | rejected: it must not pass for new |
| anything else | no clock: 1970 or 2000 after a power cut, or far ahead | as if the payload had no time |

48 hours: the start of yesterday is the oldest time that anything compares, and brokers and gateways that were cut off
deliver a whole weekend at once. Whether an epoch counts seconds, milliseconds or microseconds is decided by the same
table: only one of them lies near the arrival.
"""

import re
from datetime import UTC, datetime, timedelta

from sensors.adapters.found import Reason, Refused
from sensors.source import zone

AHEAD = timedelta(minutes=5)
LATE = timedelta(hours=48)
BELIEVABLE = timedelta(days=366)  # a clock further off than this is not running at all

# Date and time, complete: fromisoformat() would read a bare date as midnight.
_ISO = re.compile(
    r"\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d(:?\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?",
    re.ASCII,
)


def own_time(candidates: tuple[object, ...], arrival: datetime, timezone: str | None) -> datetime | None:
    """Return the first candidate that can be the measurement's time, in UTC; None: none can.

    Args:
        candidates: ISO 8601 texts or epochs; whatever else stands in a payload is passed over.
        arrival: aware.
        timezone: of texts without an offset; None: such texts are passed over.

    Raises:
        Refused: a candidate says that the value is too old.
    """
    for candidate in candidates:
        moment = _moment(candidate, arrival, timezone)
        if moment is None:
            continue
        age = arrival - moment
        if -AHEAD <= age <= LATE:
            return moment
        if LATE < age <= BELIEVABLE:
            raise Refused(Reason.TOO_OLD, f"measured at {moment.isoformat(timespec='seconds')}")
    return None


def _moment(told: object, arrival: datetime, timezone: str | None) -> datetime | None:
    if isinstance(told, str):
        return _iso(told.strip(), timezone)
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    return _epoch(told, arrival)


def _iso(text: str, timezone: str | None) -> datetime | None:
    if not _ISO.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            if timezone is None:
                return None
            moment = moment.replace(tzinfo=zone(timezone))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the 31st of February; before the year 1 in UTC
        return None


def _epoch(count: float, arrival: datetime) -> datetime | None:
    for per_second in (1, 1_000, 1_000_000):
        try:
            seconds = float(count) / per_second
        except OverflowError:  # an integer beyond every float
            return None
        if abs(seconds - arrival.timestamp()) <= BELIEVABLE.total_seconds():
            return datetime.fromtimestamp(seconds, UTC)
    return None
