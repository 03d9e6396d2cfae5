"""The parks: `parks/<name>.yaml`, read once when the gateway starts; a request names one of them."""

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.errors import ParkError, SettingError
from core.faults import in_file
from core.park import ALL_YEAR, Element, Park
from core.sign import Sign
from gateway.settings import NAME, known_timezone
from sensors.park_sensors import ParkSensors, SensorsFile, check_ids, read_park_sensors
from signs.park_signs import ParkSign, check_signs, read_park_signs

Month = Annotated[int, Field(ge=1, le=12, strict=True)]
FILE = re.compile(rf"{NAME}\.yaml")  # requests name parks by it
TODO = "Compare it with parks/default.yaml."


class ElementFile(BaseModel):
    """An element of a park's file: a name and its months. A bare name is there all year."""

    model_config = ConfigDict(extra="forbid")

    name: str
    months: list[Month] | None = Field(default=None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class ParkFile(BaseModel):
    """A park's file."""

    model_config = ConfigDict(extra="forbid")  # a key that is ignored is a park misunderstood

    name: str = Field(min_length=1)
    elements: list[ElementFile] = Field(min_length=1)
    sign: str | None = None  # None: the gateway's
    timezone: str | None = None  # None: the gateway's
    sensors: SensorsFile | None = None  # read_park_sensors() reads it; here it is only a known key
    signs: list[Any] | None = None  # read_park_signs() reads it

    @field_validator("sign")
    @classmethod
    def _sign(cls, text: str | None) -> str | None:
        try:
            return text and str(Sign.parse(text))
        except SettingError as error:
            raise ValueError(error.what.removesuffix(".")) from error

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, name: str | None) -> str | None:
        return name and known_timezone(name)


class Parks:
    """All parks of a folder, by file name.

    Args:
        folder: holds one YAML file for each park.
        default: the park of a request that names none.
        sign: of parks that name none.
        timezone: of parks that name none.

    Raises:
        ParkError: a file cannot be read, or its words are not on the closed lists.
    """

    def __init__(self, folder: Path, default: str, sign: Sign, timezone: str) -> None:
        self._default = default
        files = sorted(folder.glob("[!.]*.y*ml"))
        self._parks = {path.stem: read_park(path, sign, timezone) for path in files}
        read = {path.stem: read_park_sensors(path, timezone) for path in files}
        self._sensors = {name: found for name, found in read.items() if found}
        check_ids(self._sensors)
        self._signs = [found for path in files for found in read_park_signs(path, sign, timezone)]
        check_signs(self._signs)
        if default not in self._parks:
            raise ParkError(
                f"{folder / default}.yaml is missing.",
                f"Add it, or set SIGNBOARD_GATEWAY_PARK to one of: {', '.join(self._parks) or 'none is there'}.",
            )

    def find(self, name: str | None) -> Park:
        """Return a park, by default the default one.

        Raises:
            ParkError: there is no such park.
        """
        if (found := self._parks.get(name or self._default)) is None:
            raise ParkError(f"There is no park {name!r}.", f"Use one of: {', '.join(self._parks)}.")
        return found

    def all(self) -> dict[str, Park]:
        """Return every park by its name in requests."""
        return dict(self._parks)

    def sensors(self) -> dict[str, ParkSensors]:
        """Return the sensors of every park that has some."""
        return dict(self._sensors)

    def signs(self) -> list[ParkSign]:
        """Return the signs of every park."""
        return list(self._signs)


def today_in(park: Park) -> date:
    """Return today's date in a park's time zone."""
    return datetime.now(ZoneInfo(park.timezone)).date()


def read_park(path: Path, sign: Sign, timezone: str) -> Park:
    """Read one park and try it on every month.

    Raises:
        ParkError: the file cannot be read, or its words are not on the closed lists; the text says which.
    """
    if not FILE.fullmatch(path.name):
        raise ParkError(
            f"{path} is not a park's file name.", "Use small Latin letters, digits and -, and end in .yaml."
        )
    try:
        text = path.read_text(encoding="utf-8")
        told = ParkFile.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise ParkError(f"{path} is not a park: {in_file(error.errors())}.", TODO) from error
    except (OSError, ValueError, yaml.YAMLError) as error:  # YAML's own dates may be none
        raise ParkError(f"{path} cannot be read: {error}.", TODO) from error
    node: Any = yaml.compose(text)
    keys = [key.value for key, _ in node.value]  # YAML itself keeps the last of two
    names = [one.name for one in told.elements]
    if repeated := sorted({key for key in keys + names if (keys + names).count(key) > 1}):
        raise ParkError(f"{path} is not a park: {', '.join(repeated)} stands there twice.", TODO)
    park = Park(
        told.name,
        tuple(Element(one.name, frozenset(one.months) if one.months else ALL_YEAR) for one in told.elements),
        Sign.parse(told.sign) if told.sign else sign,
        told.timezone or timezone,
    )
    for month in sorted(ALL_YEAR):
        try:
            park.scene(date(2026, month, 1))
        except ParkError as error:
            raise ParkError(f"{path}, month {month}: {error.what}", error.todo) from error
    return park
