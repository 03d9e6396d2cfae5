"""Lessons: right answers, evenly over the grid, no held-out reading, beginnings that begin real messages."""

import itertools
from collections import Counter
from statistics import mean

from core.checks import check_number
from core.prompt import build_messages
from core.reading import usual_grid
from data.compose import openings_for
from data.lessons import lessons
from data.sets import held_out_readings

HELD_OUT = held_out_readings()
SIGN = {"up": 1, "down": -1, "same": 0}


def test_bare_rows_subtract() -> None:
    rows = lessons(4000, 0, HELD_OUT, 11)
    for row in rows:
        assert isinstance(row.prompt, str)
        yesterday, today, _ = row.prompt.split()
        size, direction = row.completion.split()
        assert int(today) - int(yesterday) == int(size) * SIGN[direction] == row.reading.change
    assert row.completion.endswith("\n"), "else nothing says where the answer ends"


def test_beginnings_have_the_plain_prompt_and_end_after_number_and_direction() -> None:
    rows = lessons(0, 4000, HELD_OUT, 11)
    for row in rows:
        assert row.prompt == build_messages(row.reading)
        assert check_number(row.completion, row.reading) == []
        sentences = [one.text.format(n=abs(row.reading.change)) for one in openings_for(row.reading, None)]
        assert any(one.startswith(row.completion) for one in sentences), "a message's own beginning"
    assert mean(len(row.completion.split()) for row in rows) < 4


def test_lessons_are_dealt_evenly_without_held_out_readings_and_are_reproducible() -> None:
    rows = lessons(7000, 3500, HELD_OUT, 11)
    assert rows == lessons(7000, 3500, HELD_OUT, 11) != lessons(7000, 3500, HELD_OUT, 12)
    for kind in (rows[:7000], rows[7000:]):
        uses = Counter(row.reading for row in kind)
        assert set(uses) == set(usual_grid()) - HELD_OUT
        assert max(uses.values()) - min(uses.values()) <= 1


def test_neighbours_share_yesterday() -> None:
    rows = lessons(3000, 0, HELD_OUT, 11)
    same = sum(one.reading.yesterday == other.reading.yesterday for one, other in itertools.pairwise(rows))
    assert same > 0.8 * len(rows)


def test_no_lessons_are_none() -> None:
    assert lessons(0, 0, HELD_OUT, 11) == []
