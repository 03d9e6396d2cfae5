"""The Things Stack: `v3/<app>@<tenant>/devices/<id>/up`, JSON; the payload formatter fills `decoded_payload`.

`field` is a key of `decoded_payload`, or a path from the payload's top
(`$.uplink_message.normalized_payload[0].air.temperature`). With `device` (a DevEUI or a device id) uplinks of others
are not for this sensor. The encoder leaves out fields that are 0: a missing counter is the session's first, but a
missing temperature stays missing, because nothing tells 0 °C from no value.
"""

from collections.abc import Iterator

from sensors.adapters.found import Found, Hole, Reason, Refused
from sensors.adapters.payload import as_object, pick, pick_within, read_object, texts
from sensors.source import Delivery, Source


def things_stack(delivery: Delivery, source: Source) -> Iterator[Found]:
    """Find the value in a decoded uplink. Formatters are JavaScript and often end in `toFixed(2)`, so text counts."""
    document = read_object(delivery.payload)
    device = pick(document, "end_device_ids")
    names = texts(device, "dev_eui", "device_id")
    if source.device is not None and source.device.lower() not in {name.lower() for name in names}:
        return
    uplink = as_object(pick(document, "uplink_message"), "uplink_message")
    if document.get("simulated") is True:
        raise Refused(Reason.SIMULATED, "an uplink that somebody simulated")
    decoded = pick(uplink, "decoded_payload")
    yield Found(
        pick_within(document, decoded, source.field or "temperature"),
        unit=pick_within(document, decoded, source.unit_field),
        times=(pick(uplink, "received_at"), pick(document, "received_at")),
        key=_key(texts(device, "dev_eui"), texts(uplink, "session_key_id"), pick(uplink, "f_cnt")),
        text=True,
    )


def _key(eui: list[str], session: list[str], count: object) -> str | None:
    """Return the uplink's id: a frame counter means something only within its session."""
    count = 0 if count is Hole.MISSING else count
    whole = isinstance(count, int) and not isinstance(count, bool)
    return f"{eui[0]} {session[0]} {count}" if eui and session and whole else None
