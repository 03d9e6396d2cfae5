"""Zigbee2MQTT: `zigbee2mqtt/<name>` with `{"temperature": 21.4, "last_seen": "2026-11-26T10:00:00+09:00"}`, °C.

`field` is a key of the payload (`temperature` by default) or a path from its top. `last_seen` comes as ISO 8601 or
epoch milliseconds if the bridge's `advanced.last_seen` is set. Set it: the bridge repeats its cached state when it
restarts, and without `last_seen` an old value cannot be told from a new one.
"""

from collections.abc import Iterator

from sensors.adapters.found import Found
from sensors.adapters.payload import pick, read_object
from sensors.source import Delivery, Source
from sensors.units import Unit


def zigbee2mqtt(delivery: Delivery, source: Source) -> Iterator[Found]:
    """Find the value of a device's state. The bridge's converters always give °C, and JSON numbers."""
    document = read_object(delivery.payload)
    yield Found(
        pick(document, source.field or "temperature"),
        unit=source.unit or Unit.CELSIUS,
        times=(pick(document, "last_seen"),),
    )
