"""Scores, compared with counts by hand."""

from dataclasses import replace

import pytest

from benchmarks.scripted_server import GOOD
from core.park import Scene
from core.reading import Reading
from evaluation.scores import ROWS, Answer, score, table

RISE, FALL, SAME, HOT = Reading(10, 20), Reading(35, 22), Reading(20, 20), Reading(33, 36)
BARE = Scene.of("봄", ["산책로"])  # a park without a bench
# What is wrong with each is counted by hand in the table below.
ANSWERS = {
    "perfect": Answer(RISE, None, GOOD, "stop", 1),
    "perfect at the second try": Answer(
        FALL, None, "어제보다 13도 낮아져 시원합니다. 벤치에서 느긋하게 쉬어 가세요.", "stop", 2
    ),
    "perfect without a number": Answer(
        SAME, None, "어제와 같은 기온이라 오늘도 쾌적합니다. 벤치에 앉아 읽던 책을 펼쳐 보세요.", "stop", 1
    ),
    "perfect but for a new word": Answer(RISE, None, GOOD.replace("들고", "들고 훨훨"), "stop", 1),
    "label": Answer(RISE, None, "전광판 " + GOOD, "stop", 1),
    "wrong number": Answer(RISE, None, GOOD.replace("10도", "11도"), "stop", 1),
    "wrong direction": Answer(RISE, None, GOOD.replace("올라", "떨어져"), "stop", 1),
    "cut off": Answer(RISE, None, GOOD, "length", 1),
    "one sentence, cut off": Answer(FALL, None, "어제보다 13도 낮아져 시원합니다.", "length", 1),
    "two lines": Answer(RISE, None, GOOD.replace(". ", ".\n"), "stop", 1),
    "a hot day's words at 20 °C": Answer(
        RISE, None, "기온이 어제보다 10도 올라 무덥습니다. 더위에 지치니 물을 자주 드세요.", "stop", 1
    ),
    "no bench in this park": Answer(
        RISE, BARE, "기온이 어제보다 10도 올라 포근합니다. 벤치에 앉아 읽던 책을 펼쳐 보세요.", "stop", 1
    ),
    "no help in the heat": Answer(HOT, BARE, "어제보다 3도 올라 더위가 심합니다. 오늘도 걸어 보세요.", "stop", 1),
    "a sky that nobody saw": Answer(
        RISE, None, "기온이 어제보다 10도 올라 포근합니다. 하늘을 보며 걸어 보세요.", "stop", 1
    ),
    "another season": Answer(RISE, BARE, "기온이 어제보다 10도 올라 포근합니다. 가을 저녁에 걸어 보세요.", "stop", 1),
    "no message": Answer(RISE, None, "", "error", 0),
}


COUNTS = {  # of the 16 answers
    "right": 13,  # not: wrong number, wrong direction, no message
    "labels": 1,
    "stopped": 13,  # not: the two cut off, no message
    "one_line": 13,  # not: one sentence, two lines, no message
    "fits_temperature": 14,  # not: the hot day's words, no message
    "fits_sign": 14,  # not: two lines (a line feed cannot be shown), no message
    "absent": 1,  # the bench
    "unsafe": 1,  # the heat
    "untrue": 2,  # the sky, the season
    "unknown": 3,  # the new word, the label, the sky (하늘을 and 보며 are no words of the catalogue)
    "passes": 4,
    "distinct": 14,  # the perfect text comes twice, once cut off; no message has no text
    "commonest_activity": 6,  # the outer coat: perfect, label, number, direction, cut off, two lines
}


@pytest.mark.parametrize(("key", "count"), COUNTS.items())
def test_scores_equal_counts_by_hand(key: str, count: int) -> None:
    assert getattr(score(list(ANSWERS.values())), key) == count / len(ANSWERS) == count / 16


def test_counts_among_the_scores_are_integers() -> None:
    fountain = Answer(RISE, None, "기온이 어제보다 10도 올라 포근합니다. 분수대 둘레를 걸어 보세요.", "stop", 1)
    scores = score([*ANSWERS.values(), fountain])
    # 벤치, 분수대
    assert (scores.answers, scores.elements, scores.second_tries, scores.errors) == (17, 2, 1, 1)


@pytest.mark.parametrize(("name", "good"), [(name, name.startswith("perfect")) for name in ANSWERS])
def test_only_a_perfect_answer_passes(name: str, good: bool) -> None:
    assert score([ANSWERS[name]]).passes == good


def test_the_table_shows_every_score() -> None:
    lines = table({"raw": score(list(ANSWERS.values())), "client": score([ANSWERS["perfect"]])}).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert ["labels or markers", "6.25%", "0.00%"] in rows
    assert ["no message", "1", "0"] in rows
    assert len(lines) == 2 + len(ROWS)


def test_variety_is_measured_within_a_round() -> None:
    """Or more rounds through the same readings would count as less variety."""
    one_round = [ANSWERS["perfect"], ANSWERS["perfect at the second try"]]
    rounds = [replace(answer, seed=number) for number in range(3) for answer in one_round]
    for key in ("distinct", "distinct_2"):
        assert getattr(score(rounds), key) == getattr(score(one_round), key) == 1
