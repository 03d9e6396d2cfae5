"""State topics as Home Assistant uses them: a bare number (`21.4`), or without it `unavailable`, `unknown`.

With `field`, JSON as in generic.py (what a `value_template` picks there). The unit stands in the discovery message, so
the sensor's settings must name it. State topics are often retained and have no time: such a value is rejected.
"""

from collections.abc import Iterator

from sensors.adapters.found import Found
from sensors.adapters.generic import generic
from sensors.adapters.payload import read_text
from sensors.source import Delivery, Source


def home_assistant(delivery: Delivery, source: Source) -> Iterator[Found]:
    """Find the value of a state topic. States are text by nature, so text counts."""
    if source.field is None:
        yield Found(read_text(delivery.payload), text=True)
    else:
        yield from generic(delivery, source)
