"""ChirpStack v4: `application/<id>/device/<EUI>/event/up`, JSON; the device profile's codec fills `object`.

`field` is a key of `object`, or a path from the payload's top (`$.object.air.temperature`). With `device` (a DevEUI or
a device name) uplinks of others are not for this sensor. The network's `time` counts, and `deduplicationId` is the key.
"""

from collections.abc import Iterator

from sensors.adapters.found import Found
from sensors.adapters.payload import pick, pick_within, read_object, texts
from sensors.source import Delivery, Source


def chirpstack(delivery: Delivery, source: Source) -> Iterator[Found]:
    """Find the value in a decoded uplink. Codecs are JavaScript and often end in `toFixed(2)`, so text counts."""
    document = read_object(delivery.payload)
    names = texts(pick(document, "deviceInfo"), "devEui", "deviceName")
    if source.device is not None and source.device.lower() not in {name.lower() for name in names}:
        return
    decoded = pick(document, "object")
    ids = texts(document, "deduplicationId")
    yield Found(
        pick_within(document, decoded, source.field or "temperature"),
        unit=pick_within(document, decoded, source.unit_field),
        times=(pick(document, "time"),),
        key=ids[0] if ids else None,
        text=True,
    )
