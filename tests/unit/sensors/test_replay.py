"""Recorded data: the file's rows, and their way to now."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import SettingError
from sensors.replay import recorded, shifted
from sensors.simulate import Measurement

HOUR = timedelta(hours=1)
NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)


def table(folder: Path, text: str) -> Path:
    path = folder / "series.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_measurements_in_the_order_of_time(tmp_path: Path) -> None:
    path = table(tmp_path, "time,value\n2020-07-01 10:00,21.5\n2020-07-01T09:00:00+09:00,20\n2020-07-01T03:00Z,23\n")
    first = datetime(2020, 7, 1, 0, tzinfo=UTC)
    assert recorded(path, "Asia/Seoul", ["lake", "hill"]) == [
        Measurement(first, "lake", 20.0),
        Measurement(first + HOUR, "lake", 21.5),
        Measurement(first + 3 * HOUR, "lake", 23.0),
    ]


def test_a_column_names_the_sensor(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffsensor,time,value,other\nhill,2020-07-01T00:00Z,21.5,x\n,2020-07-01T00:00Z,20,\n")
    assert {one.sensor: one.value for one in recorded(path, "UTC", ["lake", "hill"])} == {"hill": 21.5, "lake": 20.0}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no column time, value"),
        ("time,temp\n2020-07-01,1\n", "no column value"),
        ("time,value\n", "no rows"),
        ("time,value\n2020-07-01T00:00,21\nyesterday,21\n", ":3:"),
        ("time,value\n2020-07-01T00:00,\n", ":2:"),
        ("time,value\n2020-07-01T00:00\n", ":2:"),
        ("time,value\n2020-07-01T00:00,nan\n", "no measurement"),
        ("time,value\n0001-01-01T00:00,1\n", ":2:"),
        ("time,value,sensor\n2020-07-01T00:00,1,pond\n", "no sensor 'pond'"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=told):
        recorded(table(tmp_path, text), "Asia/Seoul", ["lake"])


def test_a_missing_file_a_binary_one_and_an_unknown_time_zone_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"time,value\n\xff\xfe,1\n")
    for path, zone in ((tmp_path / "none.csv", "UTC"), (tmp_path / "binary.csv", "UTC"), (tmp_path, "Asia/Soul")):
        with pytest.raises(SettingError):
            recorded(path, zone, ["lake"])


def series(number: int) -> list[Measurement]:
    return [Measurement(datetime(2020, 7, 1, tzinfo=UTC) + hour * HOUR, "lake", hour) for hour in range(number)]


def test_the_file_ends_now_and_only_what_is_still_accepted_is_sent() -> None:
    moved = shifted(series(100), NOW, timedelta(0), None)
    assert moved[-1] == Measurement(NOW, "lake", 99)
    assert moved[0] == Measurement(NOW - 47 * HOUR, "lake", 52)


def test_the_end_may_lie_ahead() -> None:
    moved = shifted(series(100), NOW, 24 * HOUR, None)
    assert moved[-1].at == NOW + 24 * HOUR
    assert moved[0].at == NOW - 47 * HOUR


def test_the_shift_may_be_given() -> None:
    shift = NOW - datetime(2020, 7, 1, tzinfo=UTC)
    assert shifted(series(3), NOW, timedelta(0), shift)[0].at == NOW
    assert shifted(series(3), NOW, timedelta(0), timedelta(0)) == []
