"""The rate limits: one for each key, counted by its name, over a moving window."""

import pytest

from gateway.keys import Key, KeyScope
from gateway.middleware import Rates
from gateway.problems import ProblemError

LAKE, HILL = (Key(name, frozenset(KeyScope), "") for name in ("lake", "hill"))


class Clock:
    """Seconds that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def allowed(rates: Rates, key: Key, cost: int = 1) -> bool:
    """Return whether a key may ask now."""
    try:
        rates.hit(key, cost)
    except ProblemError:
        return False
    return True


def test_each_key_has_its_own_rate_limit() -> None:
    rates = Rates("2/hour", Clock())
    for key in (LAKE, HILL):
        assert [allowed(rates, key) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("cost", "fits"), [(0, True), (1, True), (3, True), (4, False)])
def test_a_batch_costs_as_many_as_it_has_readings(cost: int, fits: bool) -> None:
    rates = Rates("4/hour", Clock())
    assert allowed(rates, LAKE)
    assert allowed(rates, LAKE, cost) is fits


def test_the_rate_limit_is_over_a_moving_window_and_says_when_to_ask_again() -> None:
    clock = Clock()
    rates = Rates("2/minute", clock)
    for clock.now in (0, 50):
        rates.hit(LAKE)
    clock.now = 59
    with pytest.raises(ProblemError) as caught:
        rates.hit(LAKE)
    assert (caught.value.code, caught.value.headers["Retry-After"]) == ("too_many", "1")
    clock.now = 60  # the first has left the window, the second has not
    assert [allowed(rates, LAKE) for _ in range(2)] == [True, False]
    clock.now = 110
    assert [allowed(rates, LAKE) for _ in range(2)] == [True, False]


def test_the_window_moves_with_the_monotonic_clock() -> None:
    """The wall clock may step back for hours: a busy key must not be locked out that long."""
    now = [0.0]
    rates = Rates("2/minute", clock=lambda: now[0])
    assert [allowed(rates, LAKE) for _ in range(3)] == [True, True, False]
    now[0] = 59.9
    assert not allowed(rates, LAKE)
    now[0] = 60.0
    assert [allowed(rates, LAKE) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("cost", "wait"), [(1, 20), (2, 40), (3, 60), (9, 60)])
def test_retry_after_is_when_the_whole_batch_fits(cost: int, wait: int) -> None:
    now = [0.0]
    rates = Rates("3/minute", clock=lambda: now[0])
    for now[0] in (0.0, 20.0, 40.0):
        rates.hit(LAKE)
    with pytest.raises(ProblemError) as caught:
        rates.hit(LAKE, cost)
    assert caught.value.headers["Retry-After"] == str(wait)
