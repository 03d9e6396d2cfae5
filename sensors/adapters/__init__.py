"""Payload adapters: what arrived from a sensor → observations in °C and rejects with a reason.

`adapt("tasmota", delivery, source)` is the only way in. It has no state, no clock and no network, and never raises over
a payload. An adapter says where in its format the value, unit, time and id stand, and which payloads are not for this
sensor; everything that must be the same for all formats (numbers, units, times, keys) is decided here, once.

A new adapter is a function in a file of its own, and a line in `ADAPTERS`.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from sensors.adapters.chirpstack import chirpstack
from sensors.adapters.found import Adapted, Found, Hole, Reason, Refused, Reject, Request
from sensors.adapters.generic import generic
from sensors.adapters.home_assistant import home_assistant
from sensors.adapters.onem2m import onem2m
from sensors.adapters.own import own
from sensors.adapters.payload import described, number
from sensors.adapters.senml import senml
from sensors.adapters.tasmota import tasmota
from sensors.adapters.things_stack import things_stack
from sensors.adapters.thingsboard import thingsboard
from sensors.adapters.times import AHEAD, LATE, own_time
from sensors.adapters.zigbee2mqtt import zigbee2mqtt
from sensors.observation import Observation
from sensors.source import Delivery, Source
from sensors.units import Unit, celsius, known_unit

Adapter = Callable[[Delivery, Source], Iterator[Found | Request]]

ADAPTERS: Mapping[str, Adapter] = MappingProxyType(
    {
        "chirpstack": chirpstack,
        "generic": generic,
        "home_assistant": home_assistant,
        "onem2m": onem2m,
        "own": own,
        "senml": senml,
        "tasmota": tasmota,
        "things_stack": things_stack,
        "thingsboard": thingsboard,
        "zigbee2mqtt": zigbee2mqtt,
    }
)
MAX_PAYLOAD = 64 * 1024  # bytes; the largest real one, a gateway's flushed buffer, is a few KiB


def adapt(name: str, delivery: Delivery, source: Source) -> Adapted:
    """Read one payload for one sensor.

    Args:
        name: the adapter's name in `ADAPTERS`.
        delivery: what arrived.
        source: the sensor's settings.
    """
    found: list[Found] = []
    requests: list[Request] = []
    observations: list[Observation] = []
    rejects: list[Reject] = []
    try:
        if len(delivery.payload) > MAX_PAYLOAD:
            raise Refused(Reason.TOO_LARGE, f"{len(delivery.payload)} bytes, {MAX_PAYLOAD} at most")
        for one in ADAPTERS[name](delivery, source):
            if isinstance(one, Request):
                requests.append(one)
            else:
                found.append(one)
    except Refused as refused:
        rejects.append(Reject(source.sensor, refused.reason, refused.what))
    for value in found:
        try:
            observations.append(_observation(value, delivery, source, alone=len(found) == 1))
        except Refused as refused:
            rejects.append(Reject(source.sensor, refused.reason, refused.what))
    return Adapted(tuple(observations), tuple(rejects), requests[0] if requests else None)


def _observation(found: Found, delivery: Delivery, source: Source, *, alone: bool) -> Observation:
    value = celsius(number(found.value, text=found.text), _unit(found.unit, source))
    received_at = delivery.received_at.astimezone(UTC)
    measured_at, timed = _measured_at(found, received_at, delivery.retained, source.timezone, alone=alone)
    key = _key(source.sensor, found.key) if found.key else _key(source.sensor, measured_at.isoformat(), repr(value))
    return Observation(source.sensor, value, measured_at, received_at, key, timed)


def _unit(told: object, source: Source) -> Unit:
    configured = known_unit(source.unit) if source.unit else None
    if told is None or told is Hole.MISSING:
        if configured is None:
            raise Refused(Reason.UNIT_MISSING, "neither the payload nor the sensor's settings name a unit")
        return configured
    unit = known_unit(told) if isinstance(told, str) else None
    if unit is None:
        raise Refused(Reason.UNIT_UNKNOWN, described(told))
    if configured not in (None, unit):
        raise Refused(Reason.UNIT_CONFLICT, f"{unit} in the payload, {configured} in the sensor's settings")
    return unit


def _measured_at(
    found: Found, arrival: datetime, retained: bool, timezone: str | None, *, alone: bool
) -> tuple[datetime, bool]:
    """Return when a value was measured, and whether the payload says so."""
    if own := own_time(found.times, arrival, timezone):
        return own, True
    if retained:
        raise Refused(Reason.RETAINED, "kept by the broker, and without a usable time of its own")
    if found.age is not None and found.age > LATE.total_seconds():
        raise Refused(Reason.TOO_OLD, f"measured {found.age:.0f} s before it was sent")
    if found.age is not None and found.age >= -AHEAD.total_seconds():
        return arrival - timedelta(seconds=found.age), False  # not a clock's time: it hangs on the arrival
    if not alone:
        raise Refused(Reason.TIME_UNREADABLE, "one of several values, and only the last one can be of now")
    return arrival, False


def _key(*parts: str) -> str:
    # Ids come from outside: a digest is short, whatever they contain, even half a surrogate pair.
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
