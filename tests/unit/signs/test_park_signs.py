"""The list `signs` of a park's file: what is read, and that every mistake is named."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import ParkError
from core.sign import DEFAULT_SIGN, Sign
from sensors.park_sensors import read_park_sensors
from signs.dabit import Dabit
from signs.matrix import Matrix
from signs.park_signs import DabitFile, Hours, ParkSign, drivers, read_park_signs, read_signs

PARK = "name: 호수공원\nelements: [벤치]\n"


def read(folder: Path, signs: str, more: str = "") -> list[ParkSign]:
    path = folder / "lake.yaml"
    path.write_text(f"{PARK}{more}signs:\n{signs}", encoding="utf-8")
    return read_park_signs(path, DEFAULT_SIGN, "Asia/Seoul")


def test_one_line_is_enough(tmp_path: Path) -> None:
    (sign,) = read(tmp_path, '  - {board: main, driver: dabit, url: "tcp://sign-1.example:5000"}')
    assert (sign.name, sign.board, sign.park, sign.timezone) == ("main", "main", "lake", "Asia/Seoul")
    assert isinstance(sign.told, DabitFile)
    settings = sign.told.settings(sign.cells)
    assert (settings.columns, settings.rows, settings.check, settings.encoding) == (20, 2, True, "euc-kr")
    assert settings.timer is None


def test_everything_may_be_said(tmp_path: Path) -> None:
    gate, pond, wall = read(
        tmp_path,
        """
  - {name: gate, driver: dabit, url: "serial:///dev/ttyUSB0?baud=19200", address: a, size: 192x48, check: false,
     encoding: cp949, colour: 2, brightness: 60, blank: screen-off, timer_minutes: 10, patience_seconds: 1,
     hours: "06:00-23:00", page_seconds: 4, refresh_seconds: 30}
  - {name: pond, driver: dabit, url: "serial:///dev/ttyUSB0?baud=19200", address: 2}
  - {name: wall, driver: matrix, rows: 32, cols: 64, chain_length: 3, font: 12}
""",
        "sign: 20x2\ntimezone: Asia/Tokyo\n",
    )
    assert (gate.board, gate.timezone, gate.address) == (
        "lake",
        "Asia/Tokyo",
        "serial:///dev/ttyUSB0?baud=19200 address A",
    )
    assert isinstance(gate.told, DabitFile)
    assert gate.told.settings(gate.cells).timer == 600
    made = drivers([gate, pond, wall])
    assert isinstance(made["gate"], Dabit)
    assert isinstance(made["pond"], Dabit)
    assert made["gate"]._line is made["pond"]._line, "one port, one line"
    assert isinstance(made["wall"], Matrix)
    assert str(made["wall"]._profile) == "192x32:12"


def test_a_sign_follows_the_board_of_the_parks_sensors(tmp_path: Path) -> None:
    one = '  - {driver: dabit, url: "tcp://a"}'
    sensors = "sensors:\n  board: pond\n  devices: [{id: post}]\n"
    (sign,) = read(tmp_path, one, sensors)
    feeding = read_park_sensors(tmp_path / "lake.yaml", "Asia/Seoul")
    assert feeding
    assert (sign.name, sign.board, sign.park) == ("pond", feeding.board, "lake")
    (sign,) = read(tmp_path, '  - {board: gate, driver: dabit, url: "tcp://a"}', sensors)
    assert sign.board == "gate", "the sign's own word counts"
    for other in ("sensors:\n  devices: [{id: post}]\n", "sensors: 1\n", "sensors: {board: 1}\n"):
        (sign,) = read(tmp_path, one, other)
        assert sign.board == "lake"


def test_a_park_without_signs_has_none(tmp_path: Path) -> None:
    path = tmp_path / "lake.yaml"
    path.write_text(PARK, encoding="utf-8")
    assert read_park_signs(path, DEFAULT_SIGN, "Asia/Seoul") == []
    assert read_signs(tmp_path, DEFAULT_SIGN, "Asia/Seoul") == []


@pytest.mark.parametrize(
    ("sign", "says"),
    [
        ("{driver: dabit}", "0.dabit.url: Field required"),
        ("{driver: ntcip, url: x}", "dabit.*matrix"),
        ('{url: "tcp://a"}', "driver"),
        ('{driver: dabit, url: "sign-1"}', "Write tcp://HOST:5000"),
        ('{driver: dabit, url: "tcp://a", adress: 1}', "adress"),
        ('{driver: dabit, url: "tcp://a", address: 16}', "1 to F"),
        ('{driver: dabit, url: "tcp://a", address: G}', "1 to F"),
        ('{driver: dabit, url: "tcp://a", size: 192}', "valid string"),
        ('{driver: dabit, url: "tcp://a", size: 192x8}', "such as 192x48"),
        ('{driver: dabit, url: "tcp://a", hours: "6-23"}', "06:00-23:00"),
        ('{driver: dabit, url: "tcp://a", hours: "06:00-06:00"}', "whole day"),
        ('{driver: dabit, url: "tcp://a", timer_minutes: 7}', "timers of 2, 3, 5, 10"),
        ('{driver: dabit, url: "tcp://a", encoding: latin-1}', "euc-kr"),
        ('{driver: dabit, url: "tcp://a", colour: 8}', "less than or equal to 7"),
        ('{driver: dabit, url: "tcp://a", brightness: 0}', "greater than or equal to 1"),
        ('{driver: dabit, url: "tcp://a", refresh_seconds: .nan}', "refresh_seconds"),
        ('{driver: dabit, url: "tcp://a", name: Main Gate}', "name"),
        ('{driver: dabit, url: "tcp://a", size: 96x32}', "12x2 cells, messages have 20x2"),
        ("{driver: matrix, rows: 17}", "rows"),
        ("{driver: matrix, rows: 8, font: 16}", "no room"),
        ("1", "dictionary"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, sign: str, says: str) -> None:
    with pytest.raises(ParkError, match=says) as caught:
        read(tmp_path, f"  - {sign}")
    assert caught.value.todo


def test_a_smaller_sign_is_fine_where_messages_are_written_for_it(tmp_path: Path) -> None:
    (sign,) = read(tmp_path, '  - {driver: dabit, url: "tcp://a", size: 96x48}', "sign: 12x3\n")
    assert sign.cells == Sign(12, 3)


@pytest.mark.parametrize(
    "two",
    [
        '  - {driver: dabit, url: "tcp://a"}\n  - {driver: dabit, url: "tcp://b"}',
        '  - {driver: dabit, url: "tcp://a"}\n  - {name: two, driver: dabit, url: "tcp://a"}',
        "  - {driver: matrix}\n  - {name: two, driver: matrix}",
    ],
)
def test_two_signs_differ_in_name_and_place(tmp_path: Path, two: str) -> None:
    read(tmp_path, two)
    with pytest.raises(ParkError, match="Two signs"):
        read_signs(tmp_path, DEFAULT_SIGN, "Asia/Seoul")


@pytest.mark.parametrize(
    ("text", "lit"), [("06:00-23:00", [False, True, True, False]), ("22:00-07:00", [True, True, False, True])]
)
def test_hours_are_the_parks(text: str, lit: list[bool]) -> None:
    hours = Hours.parse(text)
    moments = [datetime(2026, 7, 1, hour, minute, tzinfo=UTC) for hour, minute in ((20, 59), (21, 0), (3, 0), (14, 0))]
    assert [hours.lit(moment, "Asia/Seoul") for moment in moments] == lit  # 5:59, 6:00, 12:00, 23:00
