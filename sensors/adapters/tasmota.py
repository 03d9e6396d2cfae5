"""Tasmota: `tele/<topic>/SENSOR`, `{"Time": "2026-11-26T10:00:00", "DS18B20": {"Temperature": 21.3}, "TempUnit": "C"}`.

`field` is the sensor's name in the payload (`DS18B20`), or a path from its top. Names change when probes come and go
(`DS18B20` becomes `DS18B20-1`), and a path by the probe's id does not: `$[?@.Id=='01131B123456'].Temperature`. There is
no default: on an ESP32 the chip reports its own temperature beside the sensor's. `Time` is local, so the sensor needs
`timezone`; with SetOption52 it carries an offset.
"""

from collections.abc import Iterator

from sensors.adapters.found import Found
from sensors.adapters.payload import pick, read_object
from sensors.source import Delivery, Source


def tasmota(delivery: Delivery, source: Source) -> Iterator[Found]:
    """Find the temperature of one sensor of a device. The firmware prints numbers bare, or null."""
    document = read_object(delivery.payload)
    if isinstance(answer := document.get("StatusSNS"), dict):  # the answer to `Status 8` and `Status 10`
        document = answer
    value = pick(document, source.field)
    if source.field and not source.field.startswith("$"):
        value = pick(value, "Temperature")
    yield Found(value, unit=pick(document, "TempUnit"), times=(pick(document, "Time"),))
