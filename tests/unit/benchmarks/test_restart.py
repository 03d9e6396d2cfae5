"""When the restart benchmark says that the boards are back."""

import pytest

from benchmarks.restart import Boards, as_before

BEFORE: Boards = {"p0": ("a", "2026-11-27T10:00:00Z"), "p1": ("b", "2026-11-27T10:00:05Z")}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (BEFORE, True),
        (BEFORE | {"p0": ("c", "2026-11-27T10:00:20Z")}, True),
        (BEFORE | {"p0": ("c", "2026-11-27T09:59:00Z")}, False),
        (BEFORE | {"p0": ("c", "2026-11-27T10:00:00Z")}, False),
        ({"p0": BEFORE["p0"]}, False),
        ({}, False),
    ],
    ids=["the same", "newer", "older", "another text", "one is dark", "all are dark"],
)
def test_every_board_shows_what_it_showed_or_something_newer(now: Boards, expected: bool) -> None:
    assert as_before(BEFORE, now) is expected
