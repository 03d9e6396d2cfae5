"""Messages that somebody else wrote against the checks: what must not be shown, and what a good model may well say."""

import csv
from pathlib import Path

import pytest

from core.checks import check_message
from core.park import Scene
from core.problem import Words, rejecting
from core.reading import Reading

JUDGED = Path(__file__).parent / "judged.tsv"


def rows() -> list[dict[str, str]]:
    with JUDGED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("right", ["reject", "show"])
def test_judged_messages_are_judged_alike(right: str) -> None:
    wrong = []
    for row in (row for row in rows() if row["right"] == right):
        scene = Scene.of(row["season"], row["elements"].split(",")) if row["season"] else None
        reading = Reading(int(row["yesterday"]), int(row["today"]))
        found = rejecting(check_message(row["message"], reading, scene), Words.OPEN)
        if bool(found) != (right == "reject"):
            wrong.append((row["message"], found))
    assert wrong == []


def test_there_are_many_of_both_kinds() -> None:
    assert {row["right"] for row in rows()} == {"reject", "show"}
    assert len(rows()) > 300
