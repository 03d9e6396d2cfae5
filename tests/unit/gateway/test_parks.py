"""The parks' files: what is read from them, and faults by file and word before the gateway starts."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from core.catalogue import elements
from core.errors import ParkError
from core.season import Season
from core.sign import DEFAULT_SIGN, Sign
from gateway.app import create_app
from gateway.parks import Parks, read_park, today_in
from gateway.settings import GatewaySettings
from tests.conftest import ROOT

LAKE = """
name: 호수공원
elements:
  - 벤치
  - {name: 분수대, months: [5, 6, 7]}
  - 산책로
"""


def park_file(folder: Path, text: str | bytes, name: str = "lake") -> Path:
    path = folder / f"{name}.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes) -> None:
    read_park(park_file(folder, text), DEFAULT_SIGN, "Asia/Seoul")


def test_a_park_is_read_with_the_gateways_sign_and_time_zone_unless_it_has_its_own(tmp_path: Path) -> None:
    gateways = Sign.parse("24x3")
    plain = read_park(park_file(tmp_path, LAKE), gateways, "Asia/Tokyo")
    assert (plain.name, plain.sign, plain.timezone) == ("호수공원", gateways, "Asia/Tokyo")
    own = read_park(park_file(tmp_path, f"{LAKE}sign: scroll\ntimezone: UTC\n"), gateways, "Asia/Tokyo")
    assert (own.sign, own.timezone, own.elements) == (Sign.parse("scroll"), "UTC", plain.elements)


@pytest.mark.parametrize("month", range(1, 13))
def test_a_seasonal_element_is_there_in_its_months_only(month: int, tmp_path: Path) -> None:
    scene = read_park(park_file(tmp_path, LAKE), DEFAULT_SIGN, "Asia/Seoul").scene(date(2026, month, 1))
    assert ("분수대" in scene.elements) is (month in (5, 6, 7))
    assert {"벤치", "산책로"} <= set(scene.elements)
    assert scene.season is Season.of(date(2026, month, 1))


def test_two_parks_have_their_own_sign(tmp_path: Path) -> None:
    park_file(tmp_path, f"{LAKE}sign: scroll\n", "lake")
    park_file(tmp_path, "name: 언덕\nelements: [정자]\nsign: 40x1\n", "hill")
    (tmp_path / "notes.txt").write_text("no park")
    parks = Parks(tmp_path, "hill", DEFAULT_SIGN, "Asia/Seoul")
    assert {name: str(park.sign) for name, park in parks.all().items()} == {"hill": "40x1", "lake": "scroll:80"}
    assert parks.find("lake") == parks.all()["lake"]
    assert parks.find(None) == parks.find("hill")
    assert parks.find("hill").name == "언덕"


@pytest.mark.parametrize("name", ["sea", "Lake", "lake.yaml", "../lake"])
def test_a_park_that_is_not_there_is_named_with_those_that_are(name: str, tmp_path: Path) -> None:
    park_file(tmp_path, LAKE)
    parks = Parks(tmp_path, "lake", DEFAULT_SIGN, "Asia/Seoul")
    with pytest.raises(ParkError, match=re.escape(repr(name))) as caught:
        parks.find(name)
    assert "lake" in caught.value.todo


ONE = "name: 호수\nelements: [산책로]\n"
FAULTS: dict[str, tuple[str | bytes, str]] = {
    "unknown key": (f"{ONE}element: [벤치]\n", "element: Extra"),
    "unknown key of an element": ("name: 호수\nelements: [산책로, {name: 분수대, month: [5]}]\n", "month: Extra"),
    "unknown element": ("name: 호수\nelements: [산책로, 동물원]\n", "동물원"),
    "unknown element in some months": ("name: 호수\nelements: [산책로, {name: 워터파크, months: [7]}]\n", "워터파크"),
    "month 13": ("name: 호수\nelements: [산책로, {name: 분수대, months: [5, 13]}]\n", r"months\.1: .*12"),
    "month 0": ("name: 호수\nelements: [산책로, {name: 분수대, months: [0, 1]}]\n", r"months\.0: .*1"),
    "a month in words": ("name: 호수\nelements: [산책로, {name: 분수대, months: [May]}]\n", r"months\.0: "),
    "true for a month": (
        "name: 호수\nelements: [산책로, {name: 분수대, months: [true]}]\n",
        r"months\.0: .*True",
    ),
    "a key twice": (f"{ONE}elements: [벤치]\n", "elements stands there twice"),
    "no months": ("name: 호수\nelements: [산책로, {name: 분수대, months: []}]\n", "months: "),
    "bad sign": (f"{ONE}sign: big\n", "sign: .*'big'"),
    "bad time zone": (f"{ONE}timezone: Mars/Olympus\n", "timezone: .*'Mars/Olympus'"),
    "a folder of time zones": (f"{ONE}timezone: Asia\n", "timezone: .*'Asia'"),
    "a time zone outside": (f"{ONE}timezone: ../../etc/passwd\n", "timezone: .*passwd"),
    "empty elements": ("name: 호수\nelements: []\n", "elements: "),
    "no elements": ("name: 호수\n", "elements: Field required"),
    "elements without a list": ("name: 호수\nelements: 산책로\n", "elements: "),
    "nothing there in winter": (
        "name: 호수\nelements: [{name: 분수대, months: [5, 6]}]\n",
        "month 1: Nothing is",
    ),
    "no name": ("elements: [산책로]\n", "name: Field required"),
    "empty name": ("name: ''\nelements: [산책로]\n", "name: "),
    "empty file": ("", "is not a park"),
    "a list": ("- 산책로\n", "is not a park"),
    "broken YAML": ("name: [호수\n", "cannot be read"),
    "an object of Python": (f"{ONE}sign: !!python/name:os.system\n", "cannot be read"),
    "no text": (b"name: \xff\xfe", "cannot be read"),
}


@pytest.mark.parametrize(("text", "word"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_park_is_rejected_by_file_and_word(text: str | bytes, word: str, tmp_path: Path) -> None:
    read(tmp_path, ONE)  # without the fault it is a park
    with pytest.raises(ParkError, match=f"(?s){re.escape(str(tmp_path / 'lake.yaml'))}.*{word}") as caught:
        read(tmp_path, text)
    assert caught.value.todo


@pytest.mark.parametrize("name", ["Lake_1.yaml", "lake.yml", "호수.yaml", "-lake.yaml"])
def test_a_file_that_no_request_could_name_is_refused(name: str, tmp_path: Path) -> None:
    park_file(tmp_path, LAKE)
    (tmp_path / name).write_text(ONE, encoding="utf-8")
    with pytest.raises(ParkError, match=f"{name} is not a park's file name"):
        Parks(tmp_path, "lake", DEFAULT_SIGN, "Asia/Seoul")


def test_a_park_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "lake.yaml").mkdir()
    with pytest.raises(ParkError, match=r"lake\.yaml cannot be read"):
        Parks(tmp_path, "lake", DEFAULT_SIGN, "Asia/Seoul")


@pytest.mark.parametrize("folder", [".", "nowhere"])
def test_a_missing_default_park_is_an_error_that_names_file_setting_and_parks(folder: str, tmp_path: Path) -> None:
    park_file(tmp_path, LAKE)
    with pytest.raises(ParkError, match=r"default\.yaml is missing") as caught:
        Parks(tmp_path / folder, "default", DEFAULT_SIGN, "Asia/Seoul")
    assert "SIGNBOARD_GATEWAY_PARK" in caught.value.todo
    assert ("lake" if folder == "." else "none is there") in caught.value.todo


def test_a_faulty_park_keeps_the_gateway_from_starting_even_if_nobody_asks_for_it(tmp_path: Path) -> None:
    park_file(tmp_path, LAKE, "default")
    create_app(GatewaySettings(parks=tmp_path))
    park_file(tmp_path, "name: 언덕\nelements: [동물원]\n", "hill")
    with pytest.raises(ParkError, match=r"hill\.yaml.*동물원"):
        create_app(GatewaySettings(parks=tmp_path))


def test_today_is_that_of_the_parks_time_zone(tmp_path: Path) -> None:
    first, last = (  # 25 hours apart: their dates always differ
        read_park(park_file(tmp_path, f"{LAKE}timezone: {zone}\n"), DEFAULT_SIGN, "UTC")
        for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago")
    )
    assert timedelta(days=1) <= today_in(first) - today_in(last) <= timedelta(days=2)


def test_the_shipped_park_has_every_element() -> None:
    """It stands in for parks that nobody has described: its file says so."""
    park = Parks(ROOT / "parks", "default", DEFAULT_SIGN, "Asia/Seoul").find(None)
    assert {element.name for element in park.elements} == set(elements())
    assert (park.sign, park.timezone) == (DEFAULT_SIGN, "Asia/Seoul")


SENSORS = "sensors:\n  devices:\n    - {id: lake-1, adapter: zigbee2mqtt, topic: zigbee2mqtt/lake}\n"


def test_a_parks_sensors_are_read_with_its_time_zone(tmp_path: Path) -> None:
    park_file(tmp_path, f"{LAKE}timezone: UTC\n{SENSORS}", "lake")
    park_file(tmp_path, "name: 언덕\nelements: [정자]\n", "hill")
    parks = Parks(tmp_path, "lake", DEFAULT_SIGN, "Asia/Seoul")
    assert list(parks.sensors()) == ["lake"]
    lake = parks.sensors()["lake"]
    assert (lake.board, lake.timezone, [one.id for one in lake.sensors]) == ("lake", "UTC", ["lake-1"])


def test_a_wrong_sensor_stops_the_gateway_and_is_named(tmp_path: Path) -> None:
    park_file(tmp_path, LAKE + SENSORS.replace("zigbee2mqtt,", "zigbee,"), "default")
    with pytest.raises(ParkError, match=r"default\.yaml is not a park: sensors\.devices\.0\.adapter"):
        create_app(GatewaySettings(parks=tmp_path))


def test_two_parks_have_no_sensor_in_common(tmp_path: Path) -> None:
    for name in ("lake", "hill"):
        park_file(tmp_path, LAKE + SENSORS, name)
    with pytest.raises(ParkError, match="sensor lake-1 stands in two parks"):
        Parks(tmp_path, "lake", DEFAULT_SIGN, "Asia/Seoul")
