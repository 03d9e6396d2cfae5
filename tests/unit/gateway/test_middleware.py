"""The rates: one for each key, counted by its name."""

import asyncio

import pytest

from gateway.keys import Key, KeyScope
from gateway.middleware import Rates
from gateway.problems import ProblemError

LAKE, HILL = (Key(name, frozenset(KeyScope), "") for name in ("lake", "hill"))


def allowed(rates: Rates, key: Key, cost: int = 1) -> bool:
    """Return whether a key may ask now."""
    try:
        asyncio.run(rates.hit(key, cost))
    except ProblemError:
        return False
    return True


def test_each_key_has_its_own_rate_limit() -> None:
    rates = Rates("2/hour")
    for key in (LAKE, HILL):
        assert [allowed(rates, key) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("cost", "fits"), [(0, True), (1, True), (3, True), (4, False)])
def test_a_batch_costs_as_many_as_it_has_readings(cost: int, fits: bool) -> None:
    rates = Rates("4/hour")
    assert allowed(rates, LAKE)
    assert allowed(rates, LAKE, cost) is fits


def test_too_often_says_when_to_ask_again() -> None:
    rates = Rates("1/minute")
    asyncio.run(rates.hit(LAKE))
    with pytest.raises(ProblemError) as caught:
        asyncio.run(rates.hit(LAKE))
    assert caught.value.code == "too_many"
    assert 0 < int(caught.value.headers["Retry-After"]) <= 60
