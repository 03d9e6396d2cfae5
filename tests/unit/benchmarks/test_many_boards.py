"""The arithmetic of many boards: what each part needs, and the queues of a burst."""

import statistics

import pytest

from benchmarks.many_boards import Part, burst, needed_rows


def test_each_part_needs_its_share_and_one_that_cannot_grow_is_named() -> None:
    parts = [Part("model", 10.0, grows=True), Part("writer", 100.0, grows=False)]
    rows = {row[0]: row[2:] for row in needed_rows(parts)}
    assert rows["1,000"] == ["24% of one", "2% of one"]
    assert rows["100,000"] == ["23.8", "too slow by 2.4"]


def test_a_queue_that_is_half_busy_waits_as_the_theory_says() -> None:
    """Source: M/M/1, mean time in the system 1 / (service rate − arrival rate)."""
    waits = burst(100_000, within=1000.0, stages=[(200.0, 1)])
    assert statistics.mean(waits) == pytest.approx(1 / (200 - 100), rel=0.1)


def test_a_burst_beyond_the_rate_waits_for_its_backlog() -> None:
    waits = burst(1_000, within=10.0, stages=[(10.0, 5), (1e6, 1)])
    assert max(waits) == pytest.approx(1_000 / 50 - 10, rel=0.15)
