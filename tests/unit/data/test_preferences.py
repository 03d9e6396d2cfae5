"""Preference pairs: each rejected text has its intended fault, and each chosen message passes every check."""

import itertools
import json
import random
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from core.checks import check_message
from core.errors import CorpusError
from core.park import Scene
from core.problem import UNLISTED, Problem, Words
from core.reading import Reading
from core.sign import split_sentences
from data.compose import compose, echoes
from data.preferences import AWKWARD, REJECTED, Pair, own_pairs, pairs
from data.sets import Split, diverse, handwritten

ROWS = diverse(302, 11)["train"]
FOUND = pairs(ROWS, 700, 3)
# What a rejected text of each kind must be refused for; one is enough where it may be wrong in several ways.
REASONS = {
    "number": {Problem.NUMBER},
    "direction": {Problem.DIRECTION},
    "label": {Problem.LABEL},
    "off_temperature": {Problem.SENSE},
    "absent": {Problem.ABSENT, Problem.SENSE},
    "repetitive": {Problem.NUMBER, Problem.SENTENCES},
}


def problems(text: str, reading: Reading, scene: Scene | None) -> set[Problem]:
    """Return the kinds of contradictions; unknown words are none."""
    return {found.problem for found in check_message(text, reading, scene)} - UNLISTED


def of_kind(kind: str) -> list[Pair]:
    return [pair for pair in FOUND if pair.kind == kind]


def test_every_kind_has_its_share() -> None:
    assert Counter(pair.kind for pair in FOUND) == dict.fromkeys(REJECTED, 100)
    assert set(REJECTED) == {*REASONS, "awkward"}


@pytest.mark.parametrize("kind", REASONS)
def test_rejected_texts_are_wrong_for_their_reason(kind: str) -> None:
    for pair in of_kind(kind):
        assert problems(pair.rejected, pair.reading, pair.scene) & REASONS[kind], pair


def test_awkward_texts_are_the_originals_stock_phrases() -> None:
    assert {pair.rejected.split(". ", 1)[1] for pair in of_kind("awkward")} == set(AWKWARD)
    found = [problems(pair.rejected, pair.reading, pair.scene) for pair in of_kind("awkward")]
    assert set().union(*found) <= {Problem.UNSAFE, Problem.ABSENT}  # dull, but no check of the wording finds that


def test_chosen_messages_are_training_rows_and_pass() -> None:
    messages = {(row.reading, row.message) for row in ROWS}
    assert all((pair.reading, pair.chosen) in messages for pair in FOUND)
    assert all(problems(pair.chosen, pair.reading, pair.scene) == set() for pair in FOUND)
    assert all(pair.chosen != pair.rejected for pair in FOUND)


def test_the_seed_decides() -> None:
    assert pairs(ROWS, 60, 5) == pairs(ROWS, 60, 5) != pairs(ROWS, 60, 6)


def test_pairs_are_conversations_in_nfc() -> None:
    for pair in FOUND[:12]:
        talk = pair.as_conversation()
        assert [turn["role"] for turn in talk["prompt"]] == ["system", "user"]
        assert talk["chosen"] == [{"role": "assistant", "content": pair.chosen}]
        assert unicodedata.is_normalized("NFC", json.dumps(talk, ensure_ascii=False))


def test_own_failures_are_rejected_too_but_held_out_readings_stay_apart(tmp_path: Path) -> None:
    splits: tuple[Split, ...] = ("validation", "test")
    held_out = {split: [row.reading for row in handwritten()[split]] for split in splits}
    right = compose(Reading(10, 20), Scene.of("봄", ["벤치"]), random.Random(1))
    wrong = right.replace("10도", "9도")
    lines = [
        {"yesterday": 10, "today": 20, "text": wrong},
        {"yesterday": 10, "today": 20, "text": wrong, "seed": 1},  # once is enough
        {"yesterday": 10, "today": 20, "text": right},
        {"yesterday": 10, "today": 20, "text": ""},  # nothing was written, so there is nothing to avoid
        *(
            {"yesterday": reading.yesterday, "today": reading.today, "text": "전광판"}
            for split in splits
            for reading in held_out[split]
        ),
    ]
    lines = [line | {"season": "봄", "elements": ["벤치"]} for line in lines]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = own_pairs(path, 1)
    assert [(pair.reading, pair.rejected) for pair in own["train"]] == [(Reading(10, 20), wrong)]
    for split in splits:
        assert [pair.reading for pair in own[split]] == held_out[split]
    for pair in itertools.chain(*own.values()):
        assert problems(pair.chosen, pair.reading, pair.scene) == set()
        assert pair.kind == "own"


def test_a_preferred_message_keeps_what_is_right_of_a_wrong_one(tmp_path: Path) -> None:
    reading, scene = Reading(10, 20), Scene.of("봄", ["벤치"])
    first, second = split_sentences(compose(reading, scene, random.Random(1)))
    wrong = [
        first.replace("10도", "9도") + f" {second}",
        f"{first} 앉은 곳이 뜨거우니 실내에서 쉬세요.",
        "10도",
        "가. 나. 다.",
    ]
    path = tmp_path / "answers.jsonl"
    asked = {"yesterday": 10, "today": 20, "season": "봄", "elements": ["벤치"]}
    path.write_text("".join(json.dumps(asked | {"text": text}) + "\n" for text in wrong))
    for seed in range(40):
        found = {pair.rejected: pair.chosen for pair in own_pairs(path, seed, words=Words.STRICT)["train"]}
        assert list(found) == wrong
        assert found[wrong[0]].endswith(f" {second}")
        assert found[wrong[1]].startswith(f"{first} ")
        for text in found.values():
            assert check_message(text, reading, scene) == []
            assert not echoes(*split_sentences(text))


def test_words_that_the_catalogue_lacks_are_failures_where_the_recipe_rejects_them(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    first, _ = split_sentences(compose(Reading(10, 20), None, random.Random(1)))
    odd = f"{first} 걸음을 사뿐사뿐 옮겨 보세요."
    assert problems(odd, Reading(10, 20), None) == set()
    path.write_text(json.dumps({"yesterday": 10, "today": 20, "season": None, "elements": [], "text": odd}))
    assert own_pairs(path, 1)["train"] == []
    assert [pair.rejected for pair in own_pairs(path, 1, words=Words.STRICT)["train"]] == [odd]


@pytest.mark.parametrize(
    "content", ["{", '{"text": "x"}', '{"yesterday": 900, "today": 1, "season": null, "text": "x"}', "[]"]
)
def test_unreadable_failure_files_are_rejected(content: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(content)
    with pytest.raises(CorpusError, match=r"answers\.jsonl"):
        own_pairs(path, 1)
    with pytest.raises(CorpusError):
        own_pairs(tmp_path / "missing.jsonl", 1)
