"""The adapters' reverse, for simulated and recorded sensors: a measurement → the payload that such a device sends.

In: the adapter's name, the sensor's settings, a value in °C (None: the device says null) and a time. Out: topic and
bytes. Values stand under plain keys only: a JSONPath says where to read, and not how to write what lies around it.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from core.errors import SettingError
from sensors.source import Source, zone
from sensors.units import Unit, known_unit

FIELD = "temperature"  # where the settings name none


@dataclass(frozen=True, slots=True)
class Shape:
    """How the devices behind one adapter write.

    Args:
        topic: the usual MQTT topic, with `{}` for the sensor's id; None: such devices send over HTTP.
        write: settings, value in the sensor's unit, time, a number that is new in each measurement → the payload.
        field: what the settings must name, such as a probe; None: nothing.
        unit: what the settings must name because the payload does not.
        time_field: the same.
    """

    topic: str | None
    write: Callable[[Source, float | None, datetime, int], Any]
    field: str | None = None
    unit: str | None = None
    time_field: str | None = None


def payload(adapter: str, source: Source, celsius: float | None, measured_at: datetime, count: int = 0) -> bytes:
    """Write one measurement as a device of this kind does.

    Args:
        adapter: the adapter that will read it.
        source: the sensor's settings.
        celsius: the value in °C, NaN allowed; None: null.
        measured_at: what the device's clock says, aware.
        count: counts the sensor's measurements; two deliveries of one measurement have the same.

    Raises:
        SettingError: such a payload cannot be written with these settings.
    """
    for path in (source.field, source.time_field, source.unit_field):
        if path is not None and path.startswith("$"):
            raise SettingError(
                f"{source.sensor}: {path!r} is a path, and simulated payloads have plain keys only.",
                "Simulate it with another adapter; readings of real payloads are not affected.",
            )
    document = SHAPES[adapter].write(source, _in_unit(celsius, source), measured_at, count)
    return (document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)).encode()


def has_time(adapter: str, source: Source) -> bool:
    """Return whether such payloads say when the value was measured, so that yesterday's can be sent today."""
    return adapter not in ("home_assistant", "generic") or None not in (source.field, source.time_field)


def _in_unit(celsius: float | None, source: Source) -> float | None:
    unit = known_unit(source.unit) if source.unit else Unit.CELSIUS
    if celsius is None or unit is Unit.CELSIUS:
        return celsius
    return round(celsius * 9 / 5 + 32 if unit is Unit.FAHRENHEIT else celsius + 273.15, 2)


def _zigbee2mqtt(source: Source, value: float | None, at: datetime, _count: int) -> Any:
    seen = at.astimezone(zone(source.timezone or "UTC")).isoformat(timespec="milliseconds")
    return {source.field or FIELD: value, "humidity": 50.0, "linkquality": 120, "last_seen": seen}


def _tasmota(source: Source, value: float | None, at: datetime, _count: int) -> Any:
    # Local time without an offset, as the firmware writes it by default.
    local = at.astimezone(zone(source.timezone or "UTC")).strftime("%Y-%m-%dT%H:%M:%S")
    scale = "F" if source.unit and known_unit(source.unit) is Unit.FAHRENHEIT else "C"
    return {"Time": local, source.field or "DS18B20": {"Temperature": value}, "TempUnit": scale}


def _thingsboard(source: Source, value: float | None, at: datetime, _count: int) -> Any:
    telemetry = {"ts": _milliseconds(at), "values": {source.field or FIELD: value}}
    return {source.device: [telemetry]} if source.device else telemetry


def _chirpstack(source: Source, value: float | None, at: datetime, count: int) -> Any:
    return {
        "deduplicationId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{source.sensor} {at.isoformat()} {count}")),
        "time": at.isoformat(),
        "deviceInfo": {"deviceName": source.sensor, "devEui": source.device or "0000000000000000"},
        "fCnt": count,
        "fPort": 2,
        "object": {source.field or FIELD: value},
    }


def _things_stack(source: Source, value: float | None, at: datetime, count: int) -> Any:
    decoded = {} if value is None else {source.field or FIELD: value}
    return {
        "end_device_ids": {"device_id": source.sensor, "dev_eui": source.device or "0000000000000000"},
        "received_at": at.isoformat(),
        "uplink_message": {
            "session_key_id": "simulated",
            "f_cnt": count,
            "decoded_payload": decoded,
            "received_at": at.isoformat(),
        },
    }


def _senml(source: Source, value: float | None, at: datetime, _count: int) -> Any:
    return [{"n": source.device or source.sensor, "u": "Cel", "v": value, "t": at.timestamp()}]


def _onem2m(source: Source, value: float | None, at: datetime, count: int) -> Any:
    created = at.astimezone(UTC).strftime("%Y%m%dT%H%M%S,%f")
    instance = {
        "ty": 4,
        "ri": f"4-{created}-{count}",
        "ct": created,
        "con": value if source.field is None else {source.field: value},
    }
    container = source.device or f"Mobius/{source.sensor}"
    return {"m2m:sgn": {"sur": f"{container}/sub", "nev": {"net": 3, "rep": {"m2m:cin": instance}}}}


def _home_assistant(source: Source, value: float | None, at: datetime, count: int) -> Any:
    if source.field is not None:
        return _generic(source, value, at, count)
    return "unavailable" if value is None else str(value)


def _generic(source: Source, value: float | None, at: datetime, _count: int) -> Any:
    unit = {source.unit_field: source.unit or "°C"} if source.unit_field else {}
    time = {source.time_field: at.isoformat()} if source.time_field else {}
    return {source.field or FIELD: value, **unit, **time}


def _own(source: Source, value: float | None, at: datetime, _count: int) -> Any:
    return {"value": value, "unit": source.unit or "°C", "measured_at": at.isoformat()}


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "chirpstack": Shape("application/simulated/device/{}/event/up", _chirpstack, unit="°C"),
        "generic": Shape("simulated/{}", _generic, FIELD, "°C", "time"),
        "home_assistant": Shape("simulated/{}/state", _home_assistant, unit="°C"),
        "onem2m": Shape("/oneM2M/req/simulated/{}/json", _onem2m, unit="°C"),
        "own": Shape(None, _own),
        "senml": Shape("simulated/{}/senml", _senml),
        "tasmota": Shape("tele/{}/SENSOR", _tasmota, "DS18B20"),
        "things_stack": Shape("v3/simulated@ttn/devices/{}/up", _things_stack, unit="°C"),
        "thingsboard": Shape("simulated/{}/telemetry", _thingsboard, unit="°C"),
        "zigbee2mqtt": Shape("zigbee2mqtt/{}", _zigbee2mqtt),
    }
)
