"""The training sets: counts, splits without leaks, variety, reproducibility, and the built artefact."""

import itertools
import json
import os
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from core.checks import check_message
from core.errors import CorpusError
from core.park import Scene
from core.problem import Finding, Words, rejecting
from core.prompt import SYSTEM_PROMPT
from core.reading import Reading, usual_grid
from core.sign import split_sentences
from core.truth import elements_in
from data.build import build_data
from data.sets import SPLITS, Example, Split, all_examples, diverse, handwritten, sets_of, training_sets
from pipeline.manifest import verify
from pipeline.recipe import ChoicesSection, DataSection, Recipe
from tests.conftest import ROOT

Sets = dict[Split, list[Example]]


@pytest.fixture(scope="module")
def sets() -> dict[str, Sets]:
    return {"large": handwritten(), "diverse": diverse(302, 11), "diverse 3000": diverse(3000, 11)}


def contradictions(row: Example) -> list[Finding]:
    return rejecting(check_message(row.message, row.reading, row.scene), Words.OPEN)


def pairs(rows: list[Example]) -> set[Reading]:
    return {row.reading for row in rows}


@pytest.mark.parametrize(("name", "train"), [("large", 302), ("diverse", 302), ("diverse 3000", 3000)])
def test_rows_are_counted_distinct_and_right(sets: dict[str, Sets], name: str, train: int) -> None:
    assert [len(sets[name][split]) for split in SPLITS] == [train, 15, 23]
    rows = [row for _, row in all_examples(sets[name])]
    assert len(set(rows)) == len(rows) == train + 38
    assert [(row, found) for row in rows if (found := contradictions(row))] == []
    assert {row.reading for row in rows} <= set(usual_grid())


def test_a_duplicate_wording_is_composed_again() -> None:
    rows = diverse(6000, 11)["train"]
    assert len(set(rows)) == len(rows) == 6000


def test_rows_of_one_scene_are_neighbours_and_readings_and_held_out_rows_stay() -> None:
    alone, together = diverse(400, 11), diverse(400, 11, 4)
    scenes = [row.scene for row in together["train"]]
    same = sum(one == other for one, other in itertools.pairwise(scenes))
    assert 0.65 < same / len(scenes) < 0.85, "three of four neighbours, and chance"
    assert Counter(row.reading for row in together["train"]) == Counter(row.reading for row in alone["train"])
    assert pairs(together["test"]) == pairs(alone["test"])
    assert len(set(together["train"])) == 400


def test_handwritten_rows_repeat_no_pair_or_message(sets: dict[str, Sets]) -> None:
    rows = [row for _, row in all_examples(sets["large"])]
    assert len(pairs(rows)) == len({row.message for row in rows}) == 340


@pytest.mark.parametrize("name", ["diverse", "diverse 3000"])
@pytest.mark.parametrize("same", [True, False], ids=["no change", "change"])
def test_pairs_repeat_only_after_all_were_used(sets: dict[str, Sets], name: str, same: bool) -> None:
    uses = Counter(row.reading for row in sets[name]["train"])
    held_out = pairs(sets[name]["validation"]) | pairs(sets[name]["test"])
    counts = {uses[reading] for reading in set(usual_grid()) - held_out if (reading.change == 0) is same}
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("name", ["large", "diverse", "diverse 3000"])
def test_a_tenth_of_the_rows_has_no_change(sets: dict[str, Sets], name: str) -> None:
    rows = sets[name]["train"]
    assert sum(row.reading.change == 0 for row in rows) / len(rows) == pytest.approx(0.1, abs=0.02)


def test_splits_share_no_pair_within_or_across_the_sets(sets: dict[str, Sets]) -> None:
    for one in sets.values():
        for other in sets.values():
            assert pairs(one["validation"]) == pairs(other["validation"])
            assert pairs(one["test"]) == pairs(other["test"])
            assert not pairs(one["train"]) & (pairs(other["validation"]) | pairs(other["test"]))
            assert not pairs(one["validation"]) & pairs(other["test"])


def test_todays_temperatures_are_spread_evenly(sets: dict[str, Sets]) -> None:
    counts = Counter(row.reading.today for row in sets["diverse"]["train"] if row.reading.change)
    assert set(counts) == set(range(-35, 46))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(("name", "share"), [("large", 0.01), ("diverse", 0.02), ("diverse 3000", 0.01)])
def test_no_activity_dominates(sets: dict[str, Sets], name: str, share: float) -> None:
    rows = sets[name]["train"]
    activities = Counter(split_sentences(row.message)[1] for row in rows)
    assert max(activities.values()) / len(rows) <= share
    assert len(set().union(*map(elements_in, activities))) >= 15


def test_the_seed_decides() -> None:
    assert diverse(50, 1) == diverse(50, 1)
    assert diverse(50, 1)["train"] != diverse(50, 2)["train"]


def test_the_sets_are_the_same_in_every_process() -> None:
    code = "from data.sets import diverse, handwritten; print(ascii([diverse(302, 11), handwritten()]))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert printed == {ascii([diverse(302, 11), handwritten()])}


def test_a_recipes_set_heeds_every_key_that_shapes_it() -> None:
    two = ChoicesSection(each=2)
    recipe = Recipe(name="a", seed=5, data=DataSection(rows=40, rows_per_scene=4, choices=two))
    assert sets_of(recipe) == diverse(40, 5, 4, two)
    others = (diverse(40, 5, 1, two), diverse(40, 5, 4), diverse(40, 6, 4, two))
    assert len({str(one) for one in (sets_of(recipe), *others)}) == 4


def test_sets_are_chosen_by_name() -> None:
    assert training_sets("diverse", 20, 5) == diverse(20, 5)
    large = training_sets("large", 100, 5)
    assert large == handwritten() | {"train": handwritten()["train"][:100]}
    assert training_sets("large", 302, 5) == handwritten()


def test_too_many_handwritten_rows_are_an_error() -> None:
    with pytest.raises(CorpusError, match=r"302 training rows, not 303.\n.*data.set=diverse"):
        training_sets("large", 303, 11)


def test_a_row_becomes_a_conversation() -> None:
    assert Example(
        Reading(-5, 8), Scene.of("봄", ["벤치"]), "어제보다 13도 올라 포근해졌습니다. 걸어보세요."
    ).as_conversation() == {
        "prompt": [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": "지금은 봄이고, 공원에 있는 것은 벤치입니다. 어제 -5도, 오늘 8도"},
        ],
        "completion": [{"role": "assistant", "content": "어제보다 13도 올라 포근해졌습니다. 걸어보세요."}],
    }
    assert SYSTEM_PROMPT.startswith("당신은 공원 전광판 메시지 전문가입니다")
    assert unicodedata.is_normalized("NFC", SYSTEM_PROMPT)


@pytest.mark.parametrize("name", ["large", "diverse"])
def test_the_data_artefact_is_built_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = Recipe.model_validate({"name": "trial", "data": {"set": name, "rows": 60}})
    manifest, built = build_data(recipe)
    folder = tmp_path / "runs/trial/data"
    assert built
    assert manifest.results == {"rows": 98, "lessons": 0, "train": 60, "validation": 15, "test": 23}
    assert verify(folder, full=True) == manifest
    for split, rows in training_sets(name, 60, recipe.seed).items():
        lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in lines] == [row.as_conversation() for row in rows]
        assert all(row.message in line for row, line in zip(rows, lines, strict=True))  # Hangul, not escapes
    assert (folder / "coverage.png").read_bytes().startswith(b"\x89PNG")
    assert build_data(recipe) == (manifest, False)
    assert build_data(recipe.model_copy(update={"seed": 12}))[1]
