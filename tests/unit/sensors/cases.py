"""The payload examples and the settings of the sensors that read them, shared by the adapters' tests."""

import json
from datetime import UTC, datetime
from pathlib import Path

from sensors.adapters import adapt
from sensors.adapters.found import Adapted, Reason
from sensors.source import Delivery, Source

FOLDER = Path(__file__).parent / "payloads"
MEASURED = datetime(2026, 11, 26, 1, tzinfo=UTC)  # 10:00 in Seoul; the examples' own time
ARRIVAL = datetime(2026, 11, 26, 1, 0, 30, tzinfo=UTC)

# Example → adapter, settings.
CASES: dict[str, tuple[str, Source]] = {
    "zigbee2mqtt": ("zigbee2mqtt", Source("lake")),
    "tasmota": ("tasmota", Source("lake", field="DS18B20-1", timezone="Asia/Seoul")),
    "thingsboard": ("thingsboard", Source("lake", unit="°C")),
    "thingsboard_list": ("thingsboard", Source("lake", unit="°C")),
    "thingsboard_gateway": ("thingsboard", Source("lake", unit="°C", device="Lake")),
    "chirpstack": ("chirpstack", Source("lake", field="TempC_SHT", unit="°C", device="0102030405060708")),
    "things_stack": ("things_stack", Source("lake", unit="°C", device="0004a30b001c0530")),
    "home_assistant": (
        "home_assistant",
        Source("lake", field="temperature", time_field="at", unit_field="unit"),
    ),
    "senml": ("senml", Source("lake", device="urn:dev:ow:10e2073a01080063:temp")),
    "onem2m_http": (
        "onem2m",
        Source("lake", field="Temperature", unit="°C", time_field="Timestamp", timezone="Asia/Seoul"),
    ),
    "onem2m_mqtt": ("onem2m", Source("lake", field="Temperature", unit="°C", device="Mobius/park/lake")),
    "onem2m_rqp": ("onem2m", Source("lake", unit="°C", device="Mobius/park/lake")),
    "own": ("own", Source("lake")),
    "own_list": ("own", Source("lake")),
    "generic": (
        "generic",
        Source(
            "lake",
            field="$.station.readings[?@.type=='temp'].value",
            unit_field="$.station.readings[?@.type=='temp'].unit",
            time_field="epoch",
        ),
    ),
}


def example(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


def read(
    adapter: str, payload: object, source: Source | None = None, *, retained: bool = False, arrival: datetime = ARRIVAL
) -> Adapted:
    """Read a payload, given as bytes or as what is to be written as JSON."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return adapt(adapter, Delivery("a/topic", data, arrival, retained), source or Source("lake", unit="°C"))


def values(adapted: Adapted) -> list[float]:
    return [one.value for one in adapted.observations]


def reasons(adapted: Adapted) -> list[Reason]:
    return [one.reason for one in adapted.rejects]
