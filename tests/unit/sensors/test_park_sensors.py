"""The `sensors` section of a park's file: what is read from it, and each fault with its place."""

from datetime import timedelta
from pathlib import Path

import pytest

from core.errors import ParkError
from sensors.days import Choice, Mode
from sensors.park_sensors import ParkSensors, check_ids, read_park_sensors

LAKE = """
name: 호수공원
elements: [벤치]
sensors:
  choice: median
  devices:
    - {id: lake-1, adapter: zigbee2mqtt, topic: zigbee2mqtt/lake, interval: 600, resolution: 0.5, spread: 2}
    - {id: lake-2, unit: °C}
    - {id: lake-3, adapter: generic, topic: any/+/state, field: $.air.t, unit: °F, timezone: UTC, replaces: lake-0}
"""


def read(folder: Path, text: str) -> ParkSensors | None:
    path = folder / "lake.yaml"
    path.write_text(text, encoding="utf-8")
    return read_park_sensors(path, "Asia/Seoul")


def fault(folder: Path, devices: str, section: str = "") -> str:
    with pytest.raises(ParkError) as caught:
        read(folder, f"name: x\nsensors:\n  {section}\n  devices: [{devices}]\n")
    assert "lake.yaml" in caught.value.what
    return caught.value.what


def test_a_section_is_read_in_its_order(tmp_path: Path) -> None:
    park = read(tmp_path, LAKE)
    assert park
    assert (park.board, park.timezone, park.mode, park.choice) == ("lake", "Asia/Seoul", Mode.SAME_TIME, Choice.MEDIAN)
    assert [one.id for one in park.sensors] == ["lake-1", "lake-2", "lake-3"]
    first, second, third = park.sensors
    assert (first.rules.interval, first.rules.resolution, first.rules.spread) == (timedelta(minutes=10), 0.5, 2)
    assert (first.source.timezone, third.source.timezone, third.source.unit) == ("Asia/Seoul", "UTC", "°F")
    assert (second.adapter, second.topic) == ("own", None)
    assert park.replaced == {"lake-3": "lake-0"}


def test_a_park_without_the_section_has_no_sensors(tmp_path: Path) -> None:
    assert read(tmp_path, "name: x\nelements: [벤치]\n") is None


def test_the_parks_time_zone_and_the_sections_board_count(tmp_path: Path) -> None:
    park = read(
        tmp_path, LAKE.replace("  choice", "  board: main\n  mode: day_max\n  choice") + "timezone: Asia/Tokyo\n"
    )
    assert park
    assert (park.board, park.timezone, park.mode) == ("main", "Asia/Tokyo", Mode.DAY_MAX)
    assert park.sensors[0].source.timezone == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("devices", "told"),
    [
        ("{id: a, adapter: zigbee}", "devices.0.adapter: Value error, no adapter has this name"),
        ("{id: a}, {id: b, colour: red}", "devices.1.colour: Extra inputs"),
        ("{id: a}, {id: a}", "the id a stands there twice"),
        ("{id: a, topic: t}, {id: b, topic: t}", "a and b read the same field of the topic t"),
        ("{id: a, topic: t, field: x}, {id: b, topic: t, field: x}", "the same field"),
        ("{id: 호수}", "devices.0.id"),
        ("{id: a, topic: a/#/b}", "devices.0.topic"),
        ("{id: a, topic: a+/b}", "devices.0.topic"),
        ("{id: a, unit: °X}", "the unit '°X' is not known"),
        ("{id: a, timezone: Mars}", "not a time zone"),
        ("{id: a, field: '$['}", "not a JSONPath"),
        ("{id: a, interval: 0}", "devices.0.interval"),
        ("{id: a, interval: .inf}", "devices.0.interval"),
        ("{id: a, replaces: a}", "cannot replace itself"),
        ("{id: a, replaces: b}, {id: b}", "still listed"),
        ("{id: a, id: b}", "id stands there twice"),
        ("", "devices"),
        ("{}", "devices.0.id"),
    ],
)
def test_a_fault_is_named_with_its_place(devices: str, told: str, tmp_path: Path) -> None:
    assert told in fault(tmp_path, devices)


def test_unknown_keys_modes_and_empty_sections_are_faults(tmp_path: Path) -> None:
    assert "mode" in fault(tmp_path, "{id: a}", "mode: noon")
    assert "colour" in fault(tmp_path, "{id: a}", "colour: red")
    with pytest.raises(ParkError, match="sensors"):
        read(tmp_path, "name: x\nsensors:\n")
    with pytest.raises(ParkError, match="cannot be read"):
        read(tmp_path, "sensors: [")


def test_two_fields_or_devices_of_one_topic_are_two_sensors(tmp_path: Path) -> None:
    park = read(
        tmp_path,
        "sensors: {devices: [{id: a, topic: t, field: x}, {id: b, topic: t, field: y}, {id: c, topic: t, device: d}]}",
    )
    assert park
    assert len(park.sensors) == 3


def test_no_sensor_and_no_board_belongs_to_two_parks(tmp_path: Path) -> None:
    park = read(tmp_path, LAKE)
    other = read(tmp_path, "sensors: {board: lake, devices: [{id: hill-1}]}")
    assert park
    assert other
    check_ids({"lake": park})
    with pytest.raises(ParkError, match="sensor lake-1"):
        check_ids({"lake": park, "hill": park})
    with pytest.raises(ParkError, match="board lake"):
        check_ids({"lake": park, "hill": other})
