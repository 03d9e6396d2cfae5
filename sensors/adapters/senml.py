"""SenML in JSON (RFC 8428): `[{"bn": "urn:dev:ow:10e2073a01080063:", "bu": "Cel", "n": "temp", "v": 23.1, "t": -5}]`.

`device` is the record's full name (base name and name together); without it, the pack must hold one name only. Times
below 2^28 are relative to now. Units are SenML's: `Cel` and `K` only (`C` is a coulomb there, `F` a farad).
"""

from collections.abc import Iterator
from typing import Any

from sensors.adapters.found import Found, Hole, Reason, Refused
from sensors.adapters.payload import as_object, number, pick, read_json, read_text
from sensors.source import Delivery, Source
from sensors.units import Unit

_UNITS = {"Cel": Unit.CELSIUS, "K": Unit.KELVIN}
_RELATIVE = 2**28  # seconds
_VERSION = 10  # of RFC 8428
_VALUES = ("v", "vs", "vb", "vd")


def senml(delivery: Delivery, source: Source) -> Iterator[Found]:
    """Find the records of one name, with what the records before them set as base. Values are JSON numbers."""
    pack = read_json(read_text(delivery.payload))
    if not isinstance(pack, list):
        raise Refused(Reason.WRONG_SHAPE, "a SenML pack is a list")
    records = [record for record in _resolved(pack) if any(key in record for key in _VALUES)]
    if source.device is None and len({record["n"] for record in records}) > 1:
        raise Refused(Reason.AMBIGUOUS, "several names, and the sensor's settings name no device")
    for record in records:
        if source.device in (None, record["n"]):
            yield _found(record)


def _resolved(pack: list[object]) -> Iterator[dict[str, Any]]:
    """Yield each record with full name `n`, and with `u`, `t` and `b` (to be added to `v`) from the bases.

    Raises:
        Refused: a record is no object, a name no text, a base no number, or the pack demands an extension or a later
            version: then nothing in it may be read.
    """
    base: dict[str, Any] = {}
    for item in pack:
        record = as_object(item, "a SenML record")
        if unknown := [key for key in record if key.endswith("_")]:
            raise Refused(Reason.WRONG_SHAPE, f"the pack demands the extension {unknown[0][:20]!r}")
        base |= {key: record[key] for key in ("bn", "bt", "bu", "bv", "bver") if key in record}
        if base.get("bver", _VERSION) not in range(1, _VERSION + 1):
            raise Refused(Reason.WRONG_SHAPE, "a SenML version that is not known")
        names = base.get("bn", ""), record.get("n", "")
        if not all(isinstance(name, str) for name in names):
            raise Refused(Reason.WRONG_SHAPE, "a SenML name is not text")
        unit = pick(record, "u")
        yield record | {
            "n": "".join(names),
            "u": base.get("bu", Hole.MISSING) if unit is Hole.MISSING else unit,
            "t": _plain_number(record, "t") + _plain_number(base, "bt"),
            "b": _plain_number(base, "bv"),
        }


def _plain_number(record: dict[str, Any], key: str) -> float:
    try:
        return number(record.get(key, 0), text=False)
    except Refused as refused:
        raise Refused(Reason.WRONG_SHAPE, f"{key} is no number, but {refused.what}") from None


def _found(record: dict[str, Any]) -> Found:
    value, unit, time = record.get("v", Hole.MISSING), record["u"], record["t"]
    if isinstance(value, int | float) and not isinstance(value, bool) and record["b"]:
        value = number(value, text=False) + record["b"]
    # In SenML "C" and "F" are no temperatures, so such a unit must not meet our own spellings.
    named = _UNITS.get(unit, f"{unit} in SenML") if isinstance(unit, str) else unit
    relative = time < _RELATIVE
    return Found(value, unit=named, times=() if relative else (time,), age=-time if relative else None)
