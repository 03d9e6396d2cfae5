"""oneM2M notifications, as KETI's Mobius and other servers (CSEs) send them over HTTP and MQTT.

Four wrappings: the bare `m2m:sgn` (HTTP, and MQTT to a topic of one's own), the request primitive around it (`rqi` or
`ri`, `to`, `fr`, `pc`), and that primitive inside `m2m:rqp`. `con` is an object, JSON in a text, or a number. `field`
is a key of `con` or a path from its top; without `field`, `con` is the value itself. The time is that of `time_field`
in `con` if terminals send one, else `ct`, which is UTC without saying so. With `device` (the container's path or id)
notifications about others are not for this sensor.

Senders wait for an answer: `adapt` returns a `Request` beside the observations, also if there are none.
"""

import json
from collections.abc import Iterator
from typing import Any

from sensors.adapters.found import Found, Reason, Refused, Request
from sensors.adapters.payload import as_object, pick, read_json, read_object, texts
from sensors.source import Delivery, Source

_CHILD_CREATED = (3, "3", [3])  # one server sends the subscription's whole list
_OK = 2000


def onem2m(delivery: Delivery, source: Source) -> Iterator[Found | Request]:
    """Find the request to acknowledge, then the value. Terminals often write `con` as text, so text counts."""
    document = read_object(delivery.payload)
    wrapped = "m2m:rqp" in document
    primitive = as_object(document["m2m:rqp"], "m2m:rqp") if wrapped else document
    content = as_object(primitive["pc"], "pc") if "pc" in primitive else primitive
    notification = as_object(pick(content, "m2m:sgn"), "m2m:sgn")
    verification = notification.get("vrq") is True
    yield _request(primitive, verification=verification, wrapped=wrapped)
    if verification:
        return
    instance = _instance(notification)
    if source.device is None or _is_in(source.device, notification, instance):
        yield _found(instance, source)


def _request(primitive: dict[str, Any], *, verification: bool, wrapped: bool) -> Request:
    id_key = next((key for key in ("rqi", "ri") if texts(primitive, key)), "rqi")
    told, to, origin, release = (next(iter(texts(primitive, key)), None) for key in (id_key, "to", "fr", "rvi"))
    return Request(verification, told, id_key, to, origin, release, wrapped)


def _instance(notification: dict[str, Any]) -> dict[str, Any]:
    """Return the new content instance; a deleted one comes in the same shape, and is no measurement of now."""
    event = as_object(pick(notification, "nev"), "nev")
    if event.get("net", 3) not in _CHILD_CREATED:
        raise Refused(Reason.WRONG_SHAPE, "no new content instance, but another event")
    return as_object(pick(pick(event, "rep"), "m2m:cin"), "m2m:cin")


def _is_in(device: str, notification: dict[str, Any], instance: dict[str, Any]) -> bool:
    containers = [path.strip("/").rpartition("/")[0] for path in texts(notification, "sur")]
    wanted = device.strip("/")
    return device in texts(instance, "pi") or any(f"/{path}".endswith(f"/{wanted}") for path in containers)


def _found(instance: dict[str, Any], source: Source) -> Found:
    content = _content(pick(instance, "con"))
    created = [f"{time.removesuffix('Z')}Z" for time in texts(instance, "ct")]
    ids = texts(instance, "ri")
    names = [f"{name} {time}" for name in texts(instance, "rn") for time in created]
    return Found(
        content if source.field is None else pick(content, source.field),
        unit=pick(content, source.unit_field),
        times=(pick(content, source.time_field), *created),
        key=next(iter(ids + names), None),
        text=True,
    )


def _content(content: object) -> object:
    if not isinstance(content, str):
        return content
    try:
        return read_json(content)
    except Refused:
        return content  # plain text, such as "unavailable"


def response_topic(request_topic: str) -> str | None:
    """Return where a notification over MQTT is acknowledged; None: its sender does not wait.

    >>> response_topic("/oneM2M/req/Mobius2/Ssignboard/json")
    '/oneM2M/resp/Mobius2/Ssignboard/json'
    """
    head, kind, tail = request_topic.partition("oneM2M/req/")
    return f"{head}oneM2M/resp/{tail}" if kind and head in ("", "/") else None


def acknowledgement(request: Request) -> bytes:
    """Return the body that tells a sender OK, in its own spelling and wrapping."""
    named = {"to": request.origin, "fr": request.to, "rvi": request.release}
    answer = {"rsc": _OK, request.id_key: request.id, **named}
    told = {key: value for key, value in answer.items() if value is not None}
    return json.dumps({"m2m:rsp": told} if request.wrapped else told).encode()
