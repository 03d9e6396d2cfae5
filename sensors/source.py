"""What an adapter gets: a sensor's settings (`Source`) and what arrived (`Delivery`)."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError

from core.errors import SettingError
from sensors.units import known_unit

_RFC_9535 = JSONPathEnvironment(strict=True)  # the standard only, so that operators find it documented


@dataclass(frozen=True, slots=True)
class Source:
    """Where in a payload a sensor's value stands, and what the payload does not say about it.

    Args:
        sensor: the sensor's id.
        field: where the value stands: a key, or a JSONPath (RFC 9535) that begins with `$`. What the key is looked up
            in, and where the path begins, is the adapter's matter.
        unit: of payloads that name none, such as `°C`. A payload that names another one is rejected.
        timezone: of times without an offset, such as `Asia/Seoul`; None: such times are not readable.
        device: of payloads that carry several devices, this one's name; None: every payload is this sensor's.
        time_field: where the measurement's time stands, for formats that do not fix it.
        unit_field: where the unit stands, for formats that do not fix it.

    Raises:
        SettingError: a path, unit or time zone cannot be read.
    """

    sensor: str
    field: str | None = None
    unit: str | None = None
    timezone: str | None = None
    device: str | None = None
    time_field: str | None = None
    unit_field: str | None = None

    def __post_init__(self) -> None:
        for field in (self.field, self.time_field, self.unit_field):
            if field is not None and field.startswith("$"):
                compiled(field)
        if self.unit is not None and known_unit(self.unit) is None:
            raise SettingError(f"{self.sensor}: the unit {self.unit!r} is not known.", "Use °C, °F or K.")
        if self.timezone is not None:
            zone(self.timezone)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One payload as it arrived.

    Args:
        place: the MQTT topic or the HTTP path.
        payload: the bytes.
        received_at: the arrival, aware.
        retained: the broker kept the payload from earlier and delivered it at subscription.
    """

    place: str
    payload: bytes
    received_at: datetime
    retained: bool = False


@lru_cache(maxsize=1024)
def compiled(path: str) -> JSONPath:
    """Return a JSONPath, ready to use.

    `..` is refused: it finds a value anywhere, so another one when the payload grows; and two of them in a path take
    minutes on a small but deeply nested payload.

    Raises:
        SettingError: the path cannot be read.
    """
    if ".." in path:
        raise SettingError(f"The path {path!r} has `..`.", "Write the whole way from $ to the value.")
    try:
        found = _RFC_9535.compile(path)
    except JSONPathError as error:
        raise SettingError(f"{path!r} is not a JSONPath: {str(error).splitlines()[0]}.", "See RFC 9535.") from error
    assert isinstance(found, JSONPath)  # noqa: S101  # a compound path is not in the standard
    return found


@lru_cache(maxsize=128)
def zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        SettingError: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # unknown; a path; a folder
        raise SettingError(f"{name!r} is not a time zone.", "Use a name such as Asia/Seoul.") from error
