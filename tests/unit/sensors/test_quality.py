"""Quality control, rule by rule: each observation as a sensor would send it, after a history that the rules made."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.observation import Observation
from sensors.quality import (
    CONFIRMATIONS,
    FAULT_VALUES,
    Checked,
    Flag,
    Reason,
    Rules,
    allowed_step,
    check,
    counts_for_others,
    is_missing,
)

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
FIVE = Rules(interval=timedelta(minutes=5))


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


class Sensor:
    """A sensor's series, checked in the order of arrival."""

    def __init__(self, rules: Rules = FIVE) -> None:
        self.rules = rules
        self.series: list[Checked] = []
        self.count = 0

    def send(
        self,
        value: float,
        at: datetime,
        others: Iterable[Checked] = (),
        *,
        received: datetime | None = None,
        timed: bool = True,
    ) -> Checked:
        self.count += 1
        new = Observation("lake", value, at, received or at, str(self.count), timed)
        recent = [one for one in self.series if one.observation.measured_at >= at - self.rules.window]
        checked = check(new, recent, others, self.rules)
        self.series.append(checked)
        self.series.sort(key=lambda one: one.observation.measured_at)
        return checked

    def send_all(self, values: Iterable[float], start: datetime = NOON, every: float = 5) -> list[Checked]:
        return [self.send(value, start + index * minutes(every)) for index, value in enumerate(values)]


def park(*values: float, at: datetime = NOON) -> list[Checked]:
    """Return what other sensors of the park said."""
    return [Checked(Observation(str(i), value, at, at, str(i)), Flag.GOOD) for i, value in enumerate(values)]


def warmed(value: float = 10.0) -> Sensor:
    """Return a sensor that was good until five minutes before noon."""
    sensor = Sensor()
    sensor.send_all([value - 0.2, value - 0.1, value], NOON - minutes(15))
    assert {one.flag for one in sensor.series} == {Flag.GOOD}
    return sensor


# Impossible values


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_bad(value: float) -> None:
    assert warmed().send(value, NOON).reasons == (Reason.NOT_FINITE,)


@pytest.mark.parametrize("value", sorted(FAULT_VALUES))
def test_a_fault_value_is_bad_and_named(value: float) -> None:
    found = warmed().send(value, NOON)
    assert (found.flag, found.reasons) == (Flag.BAD, (Reason.FAULT_VALUE,))


@pytest.mark.parametrize(
    ("value", "flag"), [(-40.1, Flag.BAD), (60.1, Flag.BAD), (-39.9, Flag.GOOD), (60.0, Flag.GOOD)]
)
def test_the_physical_range_is_that_of_the_weather_service(value: float, flag: Flag) -> None:
    assert Sensor().send(value, NOON).flag is flag


# Sentinels inside the range


@pytest.mark.parametrize("value", [0.0, -9.0, -17.78, -40.0])
def test_a_jump_to_a_sentinel_is_doubtful(value: float) -> None:
    found = warmed(value + 3.5).send(value, NOON)  # an ordinary step of 3.5 °C in 5 minutes is allowed
    assert (found.flag, found.reasons) == (Flag.DOUBTFUL, (Reason.SENTINEL,))
    assert warmed(value + 3.5).send(value + 0.1, NOON).flag is Flag.GOOD


@pytest.mark.parametrize("value", [0.0, -9.0, -17.78])
def test_weather_may_pass_through_a_sentinel(value: float) -> None:
    assert warmed(value + 0.4).send(value, NOON).flag is Flag.GOOD


def test_the_other_sensors_decide_about_a_sentinel() -> None:
    assert Sensor().send(0.0, NOON).reasons == (Reason.SENTINEL,)  # nobody knows where it came from
    assert Sensor().send(0.0, NOON, park(0.4, -0.3)).flag is Flag.GOOD
    assert warmed(0.5).send(0.0, NOON, park(2.0, 1.8)).reasons == (Reason.SENTINEL,)


def test_a_sensor_of_whole_degrees_comes_to_zero_in_a_step_of_one_degree() -> None:
    sensor = Sensor(Rules(interval=minutes(1), resolution=1.0))
    assert {one.flag for one in sensor.send_all([2, 1, 0, -1, 0], every=1)} == {Flag.GOOD}


# Step


@pytest.mark.parametrize(
    ("gap", "limit"), [(0.1, 3.0), (1, 3.0), (5, 5.13), (10, 6.46), (30, 9.32), (60, 11.74)], ids=str
)
def test_the_allowed_step_grows_with_the_cube_root_of_the_time(gap: float, limit: float) -> None:
    assert allowed_step(minutes(gap)) == pytest.approx(limit, abs=0.01)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("gap", [1, 5, 10, 60])
def test_a_larger_step_than_allowed_is_doubtful(gap: float, sign: int) -> None:
    for extra, reasons in ((-0.1, ()), (0.3, (Reason.STEP,))):
        sensor = Sensor()
        sensor.send(15.0, NOON)
        value = 15.0 + sign * (allowed_step(minutes(gap)) + extra)
        assert sensor.send(value, NOON + minutes(gap)).reasons == reasons


def test_after_an_hour_without_a_good_value_any_step_is_possible() -> None:
    sensor = warmed(10.0)
    assert sensor.send(30.0, NOON + minutes(56)).flag is Flag.GOOD


def test_a_slow_sensor_keeps_the_step_test_over_its_own_interval() -> None:
    sensor = Sensor(Rules(interval=timedelta(hours=1)))
    sensor.send(10.0, NOON)
    assert sensor.send(30.0, NOON + minutes(61)).reasons == (Reason.STEP,)


def test_after_a_spike_the_old_level_is_good_at_once() -> None:
    sensor = warmed(10.0)
    flags = [one.flag for one in sensor.send_all([25.0, 10.1, 25.0, 10.0])]
    assert flags == [Flag.DOUBTFUL, Flag.GOOD, Flag.DOUBTFUL, Flag.GOOD]


@pytest.mark.parametrize("every", [1, 5, 10])
def test_a_front_is_accepted_after_three_values_and_ten_minutes(every: int) -> None:
    sensor = Sensor(Rules(interval=minutes(every)))
    sensor.send(20.0, NOON - minutes(every))
    found = sensor.send_all([8.0 - 0.1 * (index % 3) for index in range(15)], every=every)
    first_good = next(index for index, one in enumerate(found) if one.flag is Flag.GOOD)
    assert first_good == max(CONFIRMATIONS - 1, 10 // every)
    assert all(one.flag is Flag.GOOD for one in found[first_good:])


def test_values_that_do_not_agree_are_no_new_level() -> None:
    sensor = warmed(10.0)
    assert {one.flag for one in sensor.send_all([30.0, 20.0, 32.0, 21.0, 33.0])} == {Flag.DOUBTFUL}


def test_a_step_to_where_the_others_are_is_weather() -> None:
    assert warmed(20.0).send(12.0, NOON, park(12.4, 11.0)).flag is Flag.GOOD


def test_a_delayed_value_must_fit_the_next_one_too() -> None:
    sensor = Sensor()
    sensor.send(10.0, NOON)
    sensor.send(10.2, NOON + minutes(40))
    late = NOON + minutes(45)
    assert sensor.send(20.0, NOON + minutes(35), received=late).reasons == (Reason.STEP,)
    assert sensor.send(10.1, NOON + minutes(20), received=late).flag is Flag.GOOD


# Values that stay the same


def test_a_value_that_does_not_change_is_doubtful_after_three_hours_and_bad_after_six() -> None:
    found = Sensor().send_all([10.0] * 80)
    assert [one.flag for one in found] == [Flag.GOOD] * 36 + [Flag.DOUBTFUL] * 36 + [Flag.BAD] * 8
    assert found[36].reasons == (Reason.UNCHANGED,)
    assert found[-1].reasons == (Reason.STUCK,)


def test_a_stuck_sensor_that_moves_again_is_good_again() -> None:
    sensor = Sensor()
    sensor.send_all([10.0] * 60)
    assert sensor.send(10.1, NOON + minutes(300)).flag is Flag.GOOD


def test_one_impossible_value_does_not_hide_a_stuck_sensor() -> None:
    found = Sensor().send_all([10.0] * 20 + [85.0] + [10.0] * 20)
    assert found[-1].reasons == (Reason.UNCHANGED,)


@pytest.mark.parametrize(("resolution", "hours"), [(0.1, 3), (0.25, 7.5), (0.5, 15), (1.0, 15)])
def test_a_coarse_sensor_may_stay_the_same_for_longer(resolution: float, hours: float) -> None:
    sensor = Sensor(Rules(interval=minutes(30), resolution=resolution))
    found = sensor.send_all([21.0] * 50, every=30)
    first = next(index for index, one in enumerate(found) if one.flag is not Flag.GOOD)
    assert first / 2 == hours


@pytest.mark.parametrize(("moved", "first_doubtful"), [(4.0, 15), (4.5, 6)])
def test_a_coarse_value_that_stays_for_six_hours_is_doubtful_if_it_moved_yesterday(
    moved: float, first_doubtful: int
) -> None:
    """3 °C and two steps of the sensor are the limit, in the same hours a day before."""
    sensor = Sensor(Rules(interval=minutes(60), resolution=0.5))
    for hour in range(24):
        rise = {0: 0, 1: 0, 2: 2.0, 3: moved}.get(hour, moved - 0.5 * (hour % 2))
        sensor.send(10 + rise, NOON + minutes(60 * hour))
    found = sensor.send_all([10 + moved + 0.5] * 18, NOON + minutes(60 * 24), every=60)
    assert next(hour for hour, one in enumerate(found) if one.flag is not Flag.GOOD) == first_doubtful
    assert found[first_doubtful].reasons == (Reason.UNCHANGED,)


def test_exactly_zero_is_bad_after_two_hours() -> None:
    sensor = warmed(0.3)
    found = sensor.send_all([0.0] * 30)
    assert [one.flag for one in found] == [Flag.GOOD] * 24 + [Flag.BAD] * 6
    assert found[-1].reasons == (Reason.ZERO_RUN,)


def test_two_equal_values_with_a_gap_between_are_a_coincidence() -> None:
    sensor = Sensor()
    sensor.send_all([10.0] * 5)
    assert sensor.send(10.0, NOON + minutes(200)).flag is Flag.GOOD
    few = Sensor(Rules(interval=timedelta(hours=2)))
    assert {one.flag for one in few.send_all([10.0] * 3, every=120)} == {Flag.GOOD}


def test_a_value_that_stays_while_the_others_move_is_doubtful() -> None:
    sensor = Sensor()
    for index in range(8):
        found = sensor.send(
            10.0, NOON + minutes(5 * index), park(*[10 + 0.2 * index] * 3, at=NOON + minutes(5 * index))
        )
    assert found.reasons == (Reason.LEFT_BEHIND,)
    assert [one.flag for one in sensor.series] == [Flag.GOOD] * 6 + [Flag.DOUBTFUL] * 2


# The park's other sensors


@pytest.mark.parametrize(("value", "flag"), [(13.0, Flag.GOOD), (13.1, Flag.DOUBTFUL), (6.9, Flag.DOUBTFUL)])
def test_a_value_far_from_the_others_median_is_doubtful(value: float, flag: Flag) -> None:
    found = Sensor().send(value, NOON, park(9.0, 10.0, 30.0))
    assert found.flag is flag
    assert found.deviation == pytest.approx(value - 10.0)


def test_fewer_than_two_others_prove_nothing() -> None:
    assert Sensor().send(20.0, NOON, park(10.0)).flag is Flag.GOOD
    assert Sensor().send(20.0, NOON, park(10.0, 19.0)).flag is Flag.GOOD  # one of the two is wrong
    assert Sensor().send(20.0, NOON, park(10.0, 10.0, at=NOON - minutes(16))).flag is Flag.GOOD


@pytest.mark.parametrize("reason", Reason)
def test_only_possible_values_count_for_others(reason: Reason) -> None:
    (other,) = park(10.0)
    other = Checked(other.observation, Flag.DOUBTFUL, (reason,))
    assert counts_for_others(other) is (reason in {Reason.STEP, Reason.DEVIATION, Reason.SETTLING})
    judged = Sensor().send(20.0, NOON, [other, *park(10.0)])
    assert (judged.deviation is not None) is counts_for_others(other)


def test_after_a_long_deviation_a_sensor_must_agree_for_twenty_minutes() -> None:
    sensor = Sensor()
    for index in range(8):
        sensor.send(20.0 + 0.1 * index, NOON + minutes(5 * index), park(10.0, 10.0, at=NOON + minutes(5 * index)))
    found = [
        sensor.send(11.0, t, park(10.9, 10.9, at=t)) for t in (NOON + minutes(5 * index) for index in range(8, 14))
    ]
    assert [one.reasons for one in found] == [(Reason.SETTLING,)] * 4 + [()] * 2


def test_a_deviating_sensor_does_not_become_good_because_the_others_fall_silent() -> None:
    sensor = Sensor()
    for index in range(8):
        sensor.send(20.0 + 0.1 * index, NOON + minutes(5 * index), park(10.0, 10.0, at=NOON + minutes(5 * index)))
    assert sensor.send(20.8, NOON + minutes(60)).reasons == (Reason.SETTLING,)


# Time


@pytest.mark.parametrize(("ahead", "reasons"), [(5, ()), (5.1, (Reason.FUTURE,)), (600, (Reason.FUTURE,))])
def test_the_future_is_bad(ahead: float, reasons: tuple[Reason, ...]) -> None:
    assert warmed().send(10.1, NOON + minutes(ahead), received=NOON).reasons == reasons


def test_a_clock_that_was_ahead_does_not_disturb_the_observations_after_it() -> None:
    sensor = warmed(10.0)
    sensor.send(25.0, NOON + timedelta(hours=10), received=NOON)
    found = sensor.send_all([10.0] * 40, NOON + minutes(5))
    assert found[0].flag is Flag.GOOD
    assert found[-1].reasons == (Reason.UNCHANGED,)


@pytest.mark.parametrize("measured", [datetime(1970, 1, 1, tzinfo=UTC), NOON - timedelta(hours=48.1)])
def test_too_late_is_doubtful(measured: datetime) -> None:
    assert Sensor().send(10.0, measured, received=NOON).reasons == (Reason.TOO_LATE,)


def test_a_buffer_that_is_emptied_is_good_in_any_order() -> None:
    sensor = warmed(10.0)
    for index in (5, 1, 4, 0, 3, 2):
        found = sensor.send(10 + 0.1 * index, NOON + minutes(5 * index), received=NOON + minutes(240))
        assert found.flag is Flag.GOOD


def test_a_clock_that_is_behind_is_recognised_by_its_constant_delay() -> None:
    sensor = Sensor()
    sensor.send_all([10 + 0.1 * (index % 4) for index in range(180)], NOON - timedelta(hours=15))
    behind = timedelta(hours=10, minutes=2)
    found = [
        sensor.send(18 + 0.1 * (index % 3), at - behind, received=at)
        for index in range(150)
        if (at := NOON + minutes(5 * index))
    ]
    assert Flag.GOOD not in {one.flag for one in found}
    assert found[0].reasons == (Reason.OUT_OF_ORDER,)  # its time has an observation already
    assert found[-1].reasons == (Reason.CLOCK,)
    assert sensor.send(10.3, NOON + minutes(750)).flag is Flag.GOOD  # the clock is right again


def test_two_swapped_observations_are_both_good() -> None:
    sensor = warmed(10.0)
    assert sensor.send(10.2, NOON + minutes(5)).flag is Flag.GOOD
    assert sensor.send(10.1, NOON, received=NOON + minutes(6)).flag is Flag.GOOD


def test_an_older_observation_for_a_time_that_misses_none_is_doubtful() -> None:
    sensor = warmed(10.0)
    sensor.send(10.1, NOON)
    assert sensor.send(10.1, NOON - minutes(3), received=NOON).reasons == (Reason.OUT_OF_ORDER,)


@pytest.mark.parametrize(("value", "reason"), [(10.0, Reason.DOUBLED), (10.1, Reason.CONFLICT)])
def test_a_second_observation_of_the_same_time_is_doubtful(value: float, reason: Reason) -> None:
    assert warmed(10.0).send(value, NOON - minutes(5), received=NOON).reasons == (reason,)


def test_an_undated_observation_after_a_silence_may_have_waited_in_a_queue() -> None:
    sensor = Sensor()
    pauses = [0, 5, 5, 60, 0.1, 0.1, 5, 5]  # minutes before each
    at, found = NOON, []
    for pause in pauses:
        at += minutes(pause)
        found.append(sensor.send(10.0, at, timed=False).reasons)
    queued = (Reason.QUEUED,)
    assert found == [queued, (), (), queued, queued, queued, (), ()]


# A sensor's state


def test_a_sensor_is_missing_after_three_intervals_without_any_observation() -> None:
    bad = warmed().send(85.0, NOON)
    assert not is_missing(bad, NOON + minutes(15), FIVE)
    assert is_missing(bad, NOON + minutes(15.1), FIVE)
    assert is_missing(None, NOON, FIVE)


# Anything


VALUES = st.one_of(st.floats(), st.floats(-50, 70), st.sampled_from([0.0, -9.0, 85.0, 10.0]))


@given(st.lists(st.tuples(VALUES, st.integers(-3000, 3000), st.integers(-3000, 3000), st.booleans()), max_size=25))
def test_no_series_breaks_the_check_and_only_finite_values_in_range_are_good(
    sent: list[tuple[float, int, int, bool]],
) -> None:
    sensor = Sensor()
    for value, measured, received, timed in sent:
        found = sensor.send(value, NOON + minutes(measured), received=NOON + minutes(received), timed=timed)
        assert (found.flag is Flag.GOOD) is (not found.reasons)
        if found.flag is Flag.GOOD:
            assert -40 <= found.observation.value <= 60
            assert timedelta(minutes=-5) <= minutes(received - measured) <= timedelta(hours=48)
