"""A park's sensors: the `sensors` section of `parks/<name>.yaml`, checked.

In: the file. Out: `ParkSensors`, or None where the file has no such section. Its other keys belong to the gateway.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.errors import ParkError, SettingError
from core.faults import in_file
from sensors.adapters import ADAPTERS
from sensors.days import Choice, Mode
from sensors.quality import Rules
from sensors.source import Source

ID = r"[a-z0-9][a-z0-9-]{0,39}"  # of a sensor; it stands in addresses
TOPIC = re.compile(r"(?:(?:[^/+#\0]*|\+)/)*(?:[^/+#\0]*|\+|#)")  # MQTT's rule for + and #
TODO = "docs/sensors.md explains the section."

SensorId = Annotated[str, Field(pattern=f"^{ID}$")]


@dataclass(frozen=True, slots=True)
class Sensor:
    """One sensor of a park.

    `topic` is an MQTT topic, wildcards allowed; None: its payloads come over HTTP. `replaces` is the sensor whose place
    it took.
    """

    id: str
    adapter: str
    topic: str | None
    source: Source
    rules: Rules
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class ParkSensors:
    """A park's sensors, in the order in which `first_good` tries them, and what its board compares."""

    sensors: tuple[Sensor, ...]
    board: str
    timezone: str
    mode: Mode = Mode.SAME_TIME
    choice: Choice = Choice.FIRST_GOOD

    @property
    def replaced(self) -> dict[str, str]:
        """New sensor → the one whose place it took."""
        return {one.id: one.replaces for one in self.sensors if one.replaces}


class DeviceFile(BaseModel):
    """One sensor in a park's file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    id: SensorId
    adapter: str = "own"
    topic: str | None = Field(default=None, min_length=1, max_length=1000)
    field: str | None = Field(default=None, min_length=1)
    unit: str | None = None
    timezone: str | None = None
    device: str | None = Field(default=None, min_length=1)
    time_field: str | None = Field(default=None, min_length=1)
    unit_field: str | None = Field(default=None, min_length=1)
    interval: Annotated[float, Field(ge=1, le=86400)] = 300  # seconds
    resolution: Annotated[float, Field(gt=0, le=5)] | None = None  # °C; None: the one that the sensor shows
    spread: Annotated[float, Field(gt=0, le=20)] = 3.0  # °C
    replaces: SensorId | None = None

    @field_validator("adapter")
    @classmethod
    def _adapter(cls, name: str) -> str:
        if name not in ADAPTERS:
            raise ValueError(f"no adapter has this name; use one of {', '.join(ADAPTERS)}")
        return name

    @field_validator("topic")
    @classmethod
    def _topic(cls, topic: str | None) -> str | None:
        if topic is not None and not TOPIC.fullmatch(topic):
            raise ValueError("no MQTT topic: + stands for one whole level, # for all the last ones")
        return topic

    @model_validator(mode="after")
    def _readable(self) -> "DeviceFile":
        if self.replaces == self.id:
            raise ValueError(f"{self.id} cannot replace itself")
        try:
            self.source("UTC")
        except SettingError as error:
            raise ValueError(error.what.removesuffix(".")) from error
        return self

    def source(self, timezone: str) -> Source:
        """Return where its value stands in a payload; the park's time zone where the sensor has none of its own."""
        return Source(
            self.id, self.field, self.unit, self.timezone or timezone, self.device, self.time_field, self.unit_field
        )

    def sensor(self, timezone: str) -> Sensor:
        """Return the sensor."""
        rules = Rules(timedelta(seconds=self.interval), spread=self.spread)
        if self.resolution is not None:
            rules = replace(rules, resolution=self.resolution, told=True)
        return Sensor(self.id, self.adapter, self.topic, self.source(timezone), rules, self.replaces)


class SensorsFile(BaseModel):
    """The `sensors` section of a park's file."""

    model_config = ConfigDict(extra="forbid")  # a key that is ignored is a sensor misunderstood

    devices: list[DeviceFile] = Field(min_length=1)
    board: SensorId | None = None  # None: the park's file name
    mode: Mode = Mode.SAME_TIME
    choice: Choice = Choice.FIRST_GOOD

    @model_validator(mode="after")
    def _once(self) -> "SensorsFile":
        ids = [one.id for one in self.devices]
        places = [(one.topic, one.device, one.field) for one in self.devices if one.topic]
        if repeated := _repeated(ids):
            raise ValueError(f"the id {repeated[0]} stands there twice")
        if same := _repeated(places):
            where = " and ".join(one.id for one in self.devices if (one.topic, one.device, one.field) == same[0])
            raise ValueError(f"{where} read the same field of the topic {same[0][0]}")
        if back := next((one for one in self.devices if one.replaces in ids), None):
            raise ValueError(f"{back.id} replaces {back.replaces}, which is still listed; remove the old one")
        return self


def read_park_sensors(path: Path, timezone: str) -> ParkSensors | None:
    """Read the sensors of one park; None: its file has no `sensors` section.

    Args:
        path: the park's file.
        timezone: of a park that names none.

    Raises:
        ParkError: the file cannot be read or the section is wrong; the text says where.
    """
    try:
        text = path.read_text(encoding="utf-8")
        told: Any = yaml.safe_load(text)
        if not isinstance(told, dict) or "sensors" not in told:
            return None
        section = SensorsFile.model_validate(told["sensors"])
        repeated = next(_repeated_keys(yaml.compose(text)), None)
    except ValidationError as error:
        raise ParkError(f"{path}, sensors: {in_file(error.errors(), 'the section')}.", TODO) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ParkError(f"{path} cannot be read: {error}.", TODO) from error
    if repeated:
        raise ParkError(f"{path}: {repeated} stands there twice.", TODO)
    zone = str(told.get("timezone") or timezone)
    sensors = tuple(one.sensor(zone) for one in section.devices)
    return ParkSensors(sensors, section.board or path.stem, zone, section.mode, section.choice)


def check_ids(parks: Mapping[str, ParkSensors]) -> None:
    """Check that no sensor and no board belongs to two parks.

    Raises:
        ParkError: one does.
    """
    ids = Counter(sensor.id for park in parks.values() for sensor in park.sensors)
    for what, counted in (("sensor", ids), ("board", Counter(park.board for park in parks.values()))):
        if twice := next((name for name, count in counted.items() if count > 1), None):
            raise ParkError(f"The {what} {twice} stands in two parks.", f"Give each {what} one park. {TODO}")


def _repeated(names: list[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


def _repeated_keys(node: yaml.Node | None) -> Iterator[str]:
    """Yield the keys that stand twice in one mapping; YAML itself keeps the last of two."""
    if isinstance(node, yaml.MappingNode):
        yield from _repeated([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
    children = node.value if isinstance(node, yaml.CollectionNode) else ()
    for child in children:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _repeated_keys(part)
