"""Our own HTTP body: `{"value": 21.4, "unit": "°C", "measured_at": "2026-11-26T10:00:00+09:00"}`, one or a list.

In a list every reading needs its `measured_at`.
"""

from collections.abc import Iterator

from sensors.adapters.found import Found
from sensors.adapters.payload import as_object, pick, read_json, read_text
from sensors.source import Delivery, Source


def own(delivery: Delivery, source: Source) -> Iterator[Found]:  # noqa: ARG001  # the format fixes everything
    """Find every reading. The format is ours and says number, so text does not count."""
    document = read_json(read_text(delivery.payload))
    for element in document if isinstance(document, list) else [as_object(document, "the body")]:
        yield Found(pick(element, "value"), unit=pick(element, "unit"), times=(pick(element, "measured_at"),))
