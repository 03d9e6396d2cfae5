"""Recorded measurements: a CSV file → measurements, shifted so that they are of now.

In: a file with the columns `time`, `value` (°C) and, if it has several sensors, `sensor`. Out: measurements in the
order of time. Times without an offset are of the time zone that the caller states.
"""

import csv
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.errors import SettingError
from sensors.adapters.times import LATE
from sensors.simulate import Measurement
from sensors.source import zone

COLUMNS = {"time", "value"}
REACH = LATE - timedelta(hours=1)  # older ones are rejected everywhere


def recorded(path: Path, timezone: str, sensors: list[str]) -> list[Measurement]:
    """Read a file.

    Args:
        path: the file, UTF-8.
        timezone: of times without an offset.
        sensors: the sensors that may occur; without the column `sensor`, every row is of the first one.

    Raises:
        SettingError: the file cannot be read; the text names the line.
    """
    zone(timezone)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := COLUMNS - set(rows.fieldnames or ()):
                raise SettingError(f"{path} has no column {', '.join(sorted(missing))}.", "See docs/sensors.md.")
            found = [_measurement(row, timezone, sensors, f"{path}:{rows.line_num}") for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"{path} cannot be read: {error}.", "Give a CSV file in UTF-8.") from error
    if not found:
        raise SettingError(f"{path} has no rows.", "Give a file with measurements.")
    return sorted(found, key=lambda one: one.at)


def _measurement(row: dict[str, str], timezone: str, sensors: list[str], place: str) -> Measurement:
    sensor = row.get("sensor") or sensors[0]
    if sensor not in sensors:
        raise SettingError(f"{place}: there is no sensor {sensor!r}.", f"Use one of: {', '.join(sensors)}.")
    try:
        at = datetime.fromisoformat(row["time"].strip())
        value = float(row["value"])
        at = (at if at.tzinfo else at.replace(tzinfo=zone(timezone))).astimezone(UTC)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise SettingError(f"{place}: {error}.", "Write a time such as 2026-11-26T10:00 and a number in °C.") from error
    if not math.isfinite(value):
        raise SettingError(f"{place}: {row['value']} is no measurement.", "Leave the row out.")
    return Measurement(at, sensor, value)


def shifted(
    measurements: list[Measurement], now: datetime, ahead: timedelta, by: timedelta | None
) -> list[Measurement]:
    """Move recorded measurements to now; those that nobody would accept any more are left out.

    Args:
        measurements: in the order of time.
        now: the wall clock.
        ahead: how much of the end still lies ahead and is sent as it comes due.
        by: how far to move them; None: as far as makes the last one `ahead` from now.
    """
    move = now + ahead - measurements[-1].at if by is None else by
    moved = [Measurement(one.at + move, one.sensor, one.value) for one in measurements]
    return [one for one in moved if now - one.at <= REACH]
