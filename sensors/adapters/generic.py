"""Any other JSON: `field`, `time_field` and `unit_field` are keys of the payload, or paths from its top."""

from collections.abc import Iterator

from sensors.adapters.found import Found
from sensors.adapters.payload import pick, read_json, read_text
from sensors.source import Delivery, Source


def generic(delivery: Delivery, source: Source) -> Iterator[Found]:
    """Find the value where the settings point. They point at one value, so a number written as text counts."""
    document = read_json(read_text(delivery.payload))
    yield Found(
        pick(document, source.field),
        unit=pick(document, source.unit_field),
        times=(pick(document, source.time_field),),
        text=True,
    )
