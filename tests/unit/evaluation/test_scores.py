"""Scores, compared with counts by hand."""

from dataclasses import replace

import pytest

from benchmarks.scripted_server import GOOD
from core.reading import Reading
from evaluation.scores import ROWS, Answer, score, table

RISE, FALL, SAME = Reading(10, 20), Reading(35, 22), Reading(20, 20)
# What is wrong with each is counted by hand in the table below.
ANSWERS = {
    "perfect": Answer(RISE, GOOD, "stop", 1),
    "perfect at the second try": Answer(
        FALL, "어제보다 13도 낮아져 시원해졌습니다. 벤치에서 여유를 즐기세요.", "stop", 2
    ),
    "perfect without a number": Answer(SAME, "어제와 같은 기온으로 쾌적합니다. 벤치에서 여유를 즐기세요.", "stop", 1),
    "label": Answer(RISE, "전광판 " + GOOD, "stop", 1),
    "wrong number": Answer(RISE, GOOD.replace("10도", "11도"), "stop", 1),
    "wrong direction": Answer(RISE, GOOD.replace("올라", "떨어져"), "stop", 1),
    "cut off": Answer(RISE, GOOD, "length", 1),
    "one sentence, cut off": Answer(FALL, "어제보다 13도 낮아져 시원해졌습니다.", "length", 1),
    "two lines": Answer(RISE, GOOD.replace(". ", ".\n"), "stop", 1),
    "a hot day's words at 20 °C": Answer(RISE, "어제보다 10도 올라 무덥습니다. 분수대 근처가 시원합니다.", "stop", 1),
    "no message": Answer(RISE, "", "error", 0),
}


COUNTS = {  # of the 11 answers
    "right": 8,  # not: wrong number, wrong direction, no message
    "labels": 1,
    "stopped": 8,  # not: the two cut off, no message
    "one_line": 8,  # not: one sentence, two lines, no message
    "fits_temperature": 8,  # not: one sentence, the hot day's words, no message
    "passes": 3,
    "distinct": 9,  # the perfect text comes twice, once cut off; no message has no text
    "commonest_activity": 6,  # the flower path: perfect, label, number, direction, cut off, two lines
}


@pytest.mark.parametrize(("key", "count"), COUNTS.items())
def test_scores_equal_counts_by_hand(key: str, count: int) -> None:
    assert getattr(score(list(ANSWERS.values())), key) == count / 11


def test_counts_among_the_scores_are_integers() -> None:
    scores = score(list(ANSWERS.values()))
    # 꽃길, 벤치, 분수대
    assert (scores.answers, scores.elements, scores.second_tries, scores.errors) == (11, 3, 1, 1)


@pytest.mark.parametrize(("name", "good"), [(name, name.startswith("perfect")) for name in ANSWERS])
def test_only_a_perfect_answer_passes(name: str, good: bool) -> None:
    assert score([ANSWERS[name]]).passes == good


def test_the_table_shows_every_score() -> None:
    lines = table({"raw": score(list(ANSWERS.values())), "client": score([ANSWERS["perfect"]])}).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert ["labels or markers", "9.09%", "0.00%"] in rows
    assert ["no message", "1", "0"] in rows
    assert len(lines) == 2 + len(ROWS)


def test_variety_is_measured_within_a_round() -> None:
    """Or more rounds through the same readings would count as less variety."""
    one_round = [ANSWERS["perfect"], ANSWERS["perfect at the second try"]]
    rounds = [replace(answer, seed=number) for number in range(3) for answer in one_round]
    for key in ("distinct", "distinct_2"):
        assert getattr(score(rounds), key) == getattr(score(one_round), key) == 1
