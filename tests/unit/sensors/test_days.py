"""Yesterday and today: one test for each row of the comparison table in docs/sensors-rules.md, then the details."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.reading import Reading
from sensors.days import Choice, Comparison, Mode, NoReading, reading
from sensors.observation import Observation
from sensors.quality import FROZEN, Checked, Flag, Reason
from tests.conftest import ROOT

SEOUL = "Asia/Seoul"
NOW = datetime(2026, 11, 26, 16, tzinfo=ZoneInfo(SEOUL))
YESTERDAY = NOW - timedelta(hours=24)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def said(value: float, at: datetime, flag: Flag = Flag.GOOD, *reasons: Reason) -> Checked:
    utc = at.astimezone(UTC)
    return Checked(Observation("", value, utc, utc, utc.isoformat()), flag, reasons)


def every_hour(start: datetime, value: Callable[[int], float], hours: range) -> list[Checked]:
    """Return one observation an hour, half past, of a local day."""
    day = start.replace(hour=0, minute=30)
    return [said(value(hour), day + timedelta(hours=hour)) for hour in hours]


def warm_day(start: datetime, top: float, hours: range = range(24)) -> list[Checked]:
    return every_hour(start, lambda hour: top - abs(hour - 14), hours)


def of(series: dict[str, list[Checked]] | list[Checked], mode: Mode = Mode.SAME_TIME, **options: object) -> object:
    """Return the reading, or why there is none."""
    series = {"a": series} if isinstance(series, list) else series
    now = options.pop("now", NOW)
    found = reading(series, now, SEOUL, mode, **options)  # type: ignore[arg-type]
    return found.reading if isinstance(found, Comparison) else found


PAIR = [said(10.0, YESTERDAY), said(12.0, NOW)]


# Same time


def test_now_is_compared_with_24_hours_ago() -> None:
    found = reading({"a": PAIR}, NOW, SEOUL)
    assert isinstance(found, Comparison)
    assert (found.reading, found.sensors, found.measured_at) == (Reading(10, 12), ("a",), NOW)
    assert found.used == (PAIR[0].observation, PAIR[1].observation)


def test_the_median_of_ten_minutes_counts_on_both_days() -> None:
    around = [(-11, 90.0), (-10, 9.0), (0, 10.0), (5, 30.0), (10, 11.0), (11, 90.0)]
    yesterday = [said(value, YESTERDAY + minutes(offset)) for offset, value in around]
    today = [said(value, NOW + minutes(offset)) for offset, value in [(-11, 40.0), (-10, 20.0), (-5, 21.0), (0, 35.0)]]
    assert of(yesterday + today) == Reading(11, 21)  # 10.5 and 21: the spikes do not matter


def test_the_pair_follows_the_newest_observation_of_a_slow_sensor() -> None:
    series = [said(10.0, YESTERDAY - minutes(25)), said(19.0, YESTERDAY), said(12.0, NOW - minutes(25))]
    assert of(series) == Reading(10, 12)


def test_an_old_observation_is_not_now() -> None:
    assert of([said(10.0, YESTERDAY - minutes(30)), said(12.0, NOW - minutes(30))]) == Reading(10, 12)
    old = [said(10.0, YESTERDAY - minutes(31)), said(12.0, NOW - minutes(31))]
    assert of(old) is NoReading.NO_CURRENT
    assert of(old, max_age=minutes(31)) == Reading(10, 12)


def test_the_first_day_has_no_yesterday() -> None:
    assert of(PAIR[1:]) is NoReading.NO_YESTERDAY
    assert NoReading.NO_YESTERDAY.korean == "어제 자료 없음"


def test_a_gap_is_never_filled_from_its_edges() -> None:
    edges = [said(10.0, YESTERDAY - minutes(11)), said(10.0, YESTERDAY + minutes(11))]
    assert of([*edges, PAIR[1]]) is NoReading.NO_YESTERDAY


@pytest.mark.parametrize("flag", [Flag.DOUBTFUL, Flag.BAD])
def test_only_good_observations_are_compared(flag: Flag) -> None:
    assert of([PAIR[0], said(30.0, NOW - minutes(5), flag, Reason.STEP), PAIR[1]]) == Reading(10, 12)
    assert of([said(10.0, YESTERDAY, flag), PAIR[1]]) is NoReading.NO_YESTERDAY
    assert of([PAIR[0], said(12.0, NOW, flag)]) is NoReading.SENSOR_BAD


@pytest.mark.parametrize("reason", sorted(FROZEN))
def test_the_beginning_of_a_run_that_turned_out_stuck_is_not_compared(reason: Reason) -> None:
    run = [said(10.0, YESTERDAY), said(85.0, YESTERDAY + minutes(20), Flag.BAD, Reason.FAULT_VALUE)]
    moved, stuck = said(10.1, YESTERDAY + minutes(60)), said(10.0, YESTERDAY + minutes(60), Flag.DOUBTFUL, reason)
    assert of([run[0], moved, PAIR[1]]) == Reading(10, 12)
    assert of([run[0], stuck, PAIR[1]]) is NoReading.NO_YESTERDAY


def test_a_few_minutes_after_midnight_it_is_still_24_hours() -> None:
    now = NOW.replace(hour=0, minute=4)
    series = [said(5.0, now - timedelta(hours=24) - minutes(8)), said(7.0, now)]  # the day before yesterday by date
    assert of(series, now=now) == Reading(5, 7)


def test_late_data_of_yesterday_count_once_they_are_there() -> None:
    assert of(PAIR[1:]) is NoReading.NO_YESTERDAY
    late = Checked(Observation("a", 10.0, YESTERDAY.astimezone(UTC), NOW.astimezone(UTC), "late"), Flag.GOOD)
    assert of([late, PAIR[1]]) == Reading(10, 12)


def test_data_from_the_future_are_not_now() -> None:
    assert of([PAIR[0], said(12.0, NOW + minutes(11))]) is NoReading.NO_CURRENT
    assert of([PAIR[0], said(12.0, NOW + minutes(4))]) == Reading(10, 12)


def test_a_step_of_the_clock_leaves_nothing_to_compare_until_data_arrive() -> None:
    for step in (timedelta(hours=10), -timedelta(hours=10)):
        assert of(PAIR, now=NOW + step) is NoReading.NO_CURRENT


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, 12), datetime(2026, 10, 25, 12)], ids=["spring", "autumn"])
def test_where_clocks_change_the_same_time_is_24_hours_ago(day: datetime) -> None:
    now = day.replace(tzinfo=ZoneInfo("Europe/Berlin"))
    ago = now.astimezone(UTC) - timedelta(hours=24)
    by_the_clock = now - timedelta(days=1)
    assert abs(by_the_clock.astimezone(UTC) - ago) == timedelta(hours=1)
    found = reading(
        {"a": sorted([said(10.0, ago), said(20.0, by_the_clock), said(12.0, now)], key=at)}, now, "Europe/Berlin"
    )
    assert isinstance(found, Comparison)
    assert found.reading == Reading(10, 12)


def at(checked: Checked) -> datetime:
    return checked.observation.measured_at


# Several sensors


def test_the_first_sensor_that_has_both_days_counts() -> None:
    bad = [said(20.0, YESTERDAY), said(30.0, NOW, Flag.BAD)]
    other = [said(0.0, YESTERDAY), said(1.0, NOW)]
    assert of({"a": PAIR, "b": other}) == Reading(10, 12)
    assert of({"b": other, "a": PAIR}) == Reading(0, 1)
    assert of({"bad": bad, "b": other, "a": PAIR}) == Reading(0, 1)


def test_yesterday_never_comes_from_another_sensor_than_today() -> None:
    assert of({"a": PAIR[:1], "b": PAIR[1:]}) is NoReading.NO_YESTERDAY
    assert of({"a": PAIR[:1], "b": PAIR[1:]}, choice=Choice.MEDIAN) is NoReading.NO_YESTERDAY


def test_a_replacement_takes_yesterday_from_its_predecessor_until_it_has_its_own() -> None:
    series = {"new": PAIR[1:], "old": PAIR[:1]}
    assert of(series) is NoReading.NO_YESTERDAY
    assert of(series, replaced={"new": "old"}) == Reading(10, 12)
    series["new"] = [said(4.0, YESTERDAY), *series["new"]]
    assert of(series, replaced={"new": "old"}) == Reading(4, 12)


def test_the_median_takes_the_same_sensors_on_both_days() -> None:
    series = {
        "a": [said(10.0, YESTERDAY), said(12.0, NOW)],
        "b": [said(11.0, YESTERDAY), said(14.0, NOW)],
        "c": [said(15.0, YESTERDAY), said(19.0, NOW)],
        "only today": [said(30.0, NOW)],
        "only yesterday": [said(-30.0, YESTERDAY)],
    }
    found = reading(series, NOW, SEOUL, choice=Choice.MEDIAN)
    assert isinstance(found, Comparison)
    assert (found.reading, found.sensors) == (Reading(11, 14), ("a", "b", "c"))


def test_the_reason_is_that_of_the_sensor_that_came_furthest() -> None:
    no_current, bad, no_yesterday = [PAIR[0]], [PAIR[0], said(12.0, NOW, Flag.BAD)], PAIR[1:]
    assert of({}) is NoReading.NO_CURRENT
    assert of({"a": no_current, "b": bad}) is NoReading.SENSOR_BAD
    assert of({"a": no_current, "b": bad, "c": no_yesterday}) is NoReading.NO_YESTERDAY


# Maximum of the day


def test_the_days_maxima_are_compared() -> None:
    series = warm_day(YESTERDAY, 20) + warm_day(NOW, 24, range(16))
    assert of(series, Mode.DAY_MAX) == Reading(20, 24)


@pytest.mark.parametrize(("hour", "minute", "early"), [(0, 0, True), (14, 59, True), (15, 0, False), (23, 59, False)])
def test_before_15_o_clock_todays_maximum_is_not_known(hour: int, minute: int, early: bool) -> None:
    now = NOW.replace(hour=hour, minute=minute)
    series = warm_day(YESTERDAY, 20) + warm_day(NOW, 24, range(hour))
    assert (of(series, Mode.DAY_MAX, now=now) is NoReading.TOO_EARLY) is early


@pytest.mark.parametrize(("lost", "enough"), [([9], True), ([14], True), ([9, 10], False), ([8, 18, 3], True)])
def test_of_yesterdays_warm_hours_one_may_be_missing(lost: list[int], enough: bool) -> None:
    yesterday = [one for one in warm_day(YESTERDAY, 20) if at(one).astimezone(NOW.tzinfo).hour not in lost]
    found = of(yesterday + warm_day(NOW, 24, range(16)), Mode.DAY_MAX)
    assert isinstance(found, Reading) is enough
    assert enough or found is NoReading.NO_YESTERDAY


def test_a_sensor_that_fell_silent_before_the_maximum_has_no_today() -> None:
    series = warm_day(YESTERDAY, 20) + warm_day(NOW, 24, range(13))
    assert of(series, Mode.DAY_MAX) is NoReading.NO_CURRENT


def test_a_sensor_that_was_bad_all_day_is_named_bad() -> None:
    bad = [Checked(one.observation, Flag.BAD, (Reason.RANGE,)) for one in warm_day(NOW, 24, range(16))]
    assert of(warm_day(YESTERDAY, 20) + bad, Mode.DAY_MAX) is NoReading.SENSOR_BAD


def test_midnight_belongs_to_the_day_that_begins() -> None:
    midnight = NOW.replace(hour=0)
    hot = [said(30.0, midnight)]
    assert of(warm_day(YESTERDAY, 20) + hot + warm_day(NOW, 24, range(16)), Mode.DAY_MAX) == Reading(20, 30)


def test_days_begin_in_the_parks_time_zone() -> None:
    series = warm_day(YESTERDAY, 20) + warm_day(NOW, 24, range(16))
    assert reading({"a": series}, NOW, "America/New_York", Mode.DAY_MAX) is NoReading.TOO_EARLY


def test_a_day_of_23_hours_has_its_own_midnight() -> None:
    now = datetime(2026, 3, 29, 16, tzinfo=ZoneInfo("Europe/Berlin"))
    before = now - timedelta(days=1)
    hot = [said(35.0, now.replace(hour=0, minute=0) - minutes(1))]
    series = warm_day(before, 20) + hot + warm_day(now, 24, range(16))
    found = reading({"a": sorted(series, key=at)}, now, "Europe/Berlin", Mode.DAY_MAX)
    assert isinstance(found, Comparison)
    assert found.reading == Reading(35, 24)


def test_the_maxima_of_several_sensors_have_a_median_and_a_replacement_counts() -> None:
    series = {name: warm_day(YESTERDAY, 20 + i) + warm_day(NOW, 24 + i, range(16)) for i, name in enumerate("abc")}
    assert of(series, Mode.DAY_MAX, choice=Choice.MEDIAN) == Reading(21, 25)
    new = {"new": warm_day(NOW, 24, range(16)), "old": warm_day(YESTERDAY, 18)}
    assert of(new, Mode.DAY_MAX) is NoReading.NO_YESTERDAY
    assert of(new, Mode.DAY_MAX, replaced={"new": "old"}) == Reading(18, 24)


# Rounding and limits


@pytest.mark.parametrize(
    ("yesterday", "today", "expected"),
    [
        ([2.5], [-2.5], (3, -3)),
        ([2.49], [-2.49], (2, -2)),
        ([2.3, 2.7], [-2.7, -2.3], (3, -3)),  # the median of two is exactly a half
        ([1.1, 1.9], [21.4, 21.6], (2, 22)),
        ([0.0], [-22.4, 7.4], (0, -8)),  # -7.5; in binary floating point it would be -7.499999999999999
        ([10.4], [10.6], (10, 11)),  # 0.2 °C, and yet a change of one: the text counts whole degrees
    ],
)
def test_both_temperatures_are_rounded_once_halves_away_from_zero(
    yesterday: list[float], today: list[float], expected: tuple[int, int]
) -> None:
    series = [said(value, YESTERDAY + minutes(i)) for i, value in enumerate(yesterday)]
    series += [said(value, NOW - minutes(1) + minutes(i)) for i, value in enumerate(today)]
    assert of(series) == Reading(*expected)


@pytest.mark.parametrize(("yesterday", "today"), [(0.0, 46.0), (-36.0, 0.0), (0.0, 26.0), (26.0, 0.0)])
def test_what_the_model_was_not_trained_on_is_unusual(yesterday: float, today: float) -> None:
    assert of([said(yesterday, YESTERDAY), said(today, NOW)]) is NoReading.UNUSUAL


@pytest.mark.parametrize("reason", NoReading)
def test_every_reason_has_a_korean_text(reason: NoReading) -> None:
    assert reason.korean


FLAGS = st.sampled_from(Flag)
OFFSETS = st.integers(-60 * 49, 60)
SERIES = st.lists(st.tuples(st.floats(-40, 60), OFFSETS, FLAGS), max_size=30)


@given(st.dictionaries(st.sampled_from("abc"), SERIES), st.sampled_from(Mode), st.sampled_from(Choice))
def test_whatever_is_stored_only_good_observations_of_two_days_are_used(
    stored: dict[str, list[tuple[float, int, Flag]]], mode: Mode, choice: Choice
) -> None:
    series = {
        name: sorted([said(value, NOW + minutes(offset), flag) for value, offset, flag in told], key=at)
        for name, told in stored.items()
    }
    found = reading(series, NOW, SEOUL, mode, choice)
    if isinstance(found, Comparison):
        good = [one.observation for told in series.values() for one in told if one.flag is Flag.GOOD]
        assert found.used
        assert all(one in good for one in found.used)


def test_every_row_of_the_table_names_a_test_that_exists() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    rows = [
        line
        for line in (ROOT / "docs/sensors-rules.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| when ")
    ]
    assert len(rows) > 50
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named or row.endswith("| the same |"), row
        assert all(f"def {name}(" in tests for name in named), row
