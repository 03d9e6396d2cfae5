"""How a sign that draws pictures looks: the colour of its dots and their brightness, by day and at night."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from core.errors import SettingError

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Look:
    """A sign's colour and brightness; brightness in percent, at night another one.

    Args:
        colour: red, green, blue, 0…255 each.
        brightness: by day.
        night: from when to when it is night, as `22:00-06:00`; empty: there is none.
        night_brightness: in percent; 0 switches the sign off.
    """

    colour: tuple[int, int, int]
    brightness: int = 100
    night: str = ""
    night_brightness: int = 30

    def changes(self, now: datetime, timezone: str) -> list[tuple[float, int]]:
        """Return the brightness from now on and where it changes within a day, as seconds from now and percent."""
        found = [(0.0, self.brightness_at(now, timezone))]
        for moment in sorted(self._borders(now, timezone)):
            seconds, percent = (moment - now).total_seconds(), self.brightness_at(moment, timezone)
            if 0 < seconds <= DAY.total_seconds() and percent != found[-1][1]:
                found.append((seconds, percent))
        return found

    def brightness_at(self, moment: datetime, timezone: str) -> int:
        """Return the brightness at a moment, in percent."""
        if not self.night:
            return self.brightness
        start, end = parse_night(self.night)
        minute = moment.astimezone(ZoneInfo(timezone))
        clock = minute.hour * 60 + minute.minute
        is_night = start <= clock < end if start < end else clock >= start or clock < end
        return self.night_brightness if is_night else self.brightness

    def rgb(self, percent: int) -> tuple[int, int, int]:
        """Return the colour of a lit dot; fractions are cut off, as the page does it."""
        red, green, blue = self.colour
        return red * percent // 100, green * percent // 100, blue * percent // 100

    def _borders(self, now: datetime, timezone: str) -> list[datetime]:
        local = now.astimezone(ZoneInfo(timezone))
        return [
            (local + timedelta(days=days)).replace(hour=minute // 60, minute=minute % 60, second=0, microsecond=0)
            for days in (0, 1)
            for minute in (parse_night(self.night) if self.night else ())
        ]


def parse_colour(text: str) -> tuple[int, int, int]:
    """Read a colour such as `ffb000` or `#ffb000`.

    Raises:
        SettingError: it is none.
    """
    found = re.fullmatch(r"#?([0-9a-fA-F]{6})", text.strip())
    if not found:
        raise SettingError(f"{text!r} is not a colour.", "Write red, green and blue in hex, such as ffb000.")
    red, green, blue = bytes.fromhex(found[1])
    return red, green, blue


def parse_night(text: str) -> tuple[int, int]:
    """Read `22:00-06:00`; return both in minutes since midnight.

    Raises:
        SettingError: it has another form, or both are the same.
    """
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", text.strip())
    start, end = (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (0, 0)
    if start == end:
        raise SettingError(f"{text!r} is not a night.", "Write from when to when, such as 22:00-06:00.")
    return start, end
