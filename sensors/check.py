"""What the park files say about sensors, and what the sensors say right now.

In: the parks' sensors, a broker, the store. Out: for each sensor a `Finding`, and whether it may stay as it is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from paho.mqtt.client import topic_matches_sub

from core.errors import ParkError
from sensors.adapters import adapt
from sensors.park_sensors import ParkSensors, Sensor, check_ids, read_park_sensors
from sensors.quality import Checked, Flag, check, is_missing
from sensors.source import Delivery
from sensors.store import SensorStore


@dataclass(frozen=True, slots=True)
class Finding:
    """How a sensor is.

    Args:
        park: the park's file name.
        sensor: its settings.
        heard: how many payloads came at its topic.
        now: what the last readable one of them said.
        stored: the latest observation in the store.
        problem: why it may not stay as it is, in a few words; None: it may.
    """

    park: str
    sensor: Sensor
    heard: int
    now: Checked | None
    stored: Checked | None
    problem: str | None


def read_parks(folder: Path, timezone: str, only: str | None = None) -> dict[str, ParkSensors]:
    """Return the sensors of every park that has some, or of one park.

    Raises:
        ParkError: a file is wrong, the named park is not there, or no park has sensors.
    """
    files = sorted(folder.glob("[!.]*.y*ml"))
    parks = {path.stem: found for path in files if (found := read_park_sensors(path, timezone))}
    check_ids(parks)
    if only is not None:
        parks = {name: park for name, park in parks.items() if name == only}
    if not parks:
        raise ParkError(
            f"{folder / (only or '*')}.yaml: there is no such park with a section `sensors`.",
            "docs/sensors.md shows how to add one.",
        )
    return parks


def findings(
    parks: Mapping[str, ParkSensors], deliveries: Iterable[Delivery], store: SensorStore | None, now: datetime
) -> list[Finding]:
    """Look at every sensor.

    Args:
        parks: each park's sensors by its file name.
        deliveries: what the broker brought while somebody listened.
        store: the observations of earlier; None: there is no store yet.
        now: the wall clock.

    Raises:
        DatabaseError: the store could not be read.
    """
    brought = list(deliveries)
    return [_finding(name, sensor, brought, store, now) for name, park in parks.items() for sensor in park.sensors]


def _finding(park: str, sensor: Sensor, brought: list[Delivery], store: SensorStore | None, now: datetime) -> Finding:
    mine = [one for one in brought if sensor.topic and topic_matches_sub(sensor.topic, one.place)]
    adapted = [adapt(sensor.adapter, one, sensor.source) for one in mine]
    observations = [found for one in adapted for found in one.observations]
    rejects = [reject for one in adapted for reject in one.rejects]
    stored = store.latest(sensor.id) if store else None
    # The value alone is judged: the gateway may have stored this very observation already, and whether one without a
    # time of its own waited somewhere is not asked here.
    heard = check(replace(observations[-1], timed=True), [], [], sensor.rules) if observations else None
    latest = heard or stored
    problem = None
    if rejects and not observations:
        problem = f"unreadable: {rejects[-1].reason} ({rejects[-1].detail})"
    elif latest is None or is_missing(latest, now, sensor.rules):
        problem = "silent"
    elif latest.flag is Flag.BAD:
        problem = f"bad: {', '.join(latest.reasons)}"
    return Finding(park, sensor, len(mine), heard, stored, problem)
