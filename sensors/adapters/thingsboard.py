"""ThingsBoard telemetry: `{"temperature": 22.5}`, `{"ts": 1451649600512, "values": {…}}` or a list of those.

With `device`, the gateway's form: `{"Device A": [{"ts": …, "values": {…}}]}`; payloads without that device are not for
this sensor. `field` is a key of the values (`temperature` by default) or a path from their top. Lists flush a buffer:
late, and in no order.
"""

from collections.abc import Iterator

from sensors.adapters.found import Found, Hole
from sensors.adapters.payload import as_object, pick, read_json, read_object, read_text
from sensors.source import Delivery, Source


def thingsboard(delivery: Delivery, source: Source) -> Iterator[Found]:
    """Find every value of a key. The platform itself reads `"22.5"` as a number by default, so text counts."""
    document: object
    if source.device is None:
        document = read_json(read_text(delivery.payload))
    elif (document := pick(read_object(delivery.payload), source.device)) is Hole.MISSING:
        return
    for element in document if isinstance(document, list) else [as_object(document, "the telemetry")]:
        values = pick(element, "values")
        timed = isinstance(values, dict)
        yield Found(
            pick(values if timed else element, source.field or "temperature"),
            times=(pick(element, "ts"),) if timed else (),
            text=True,
        )
