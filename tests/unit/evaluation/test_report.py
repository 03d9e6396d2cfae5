"""The report's second run, on the hand-written rows."""

from pathlib import Path

import pytest

from data.build import build_data
from evaluation.report import on_handwritten_rows
from pipeline.recipe import ChoicesSection, DataSection, LessonsSection, Recipe, TrainSection


def test_the_run_on_hand_written_rows_learns_no_sentence_of_the_other_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    lessons = LessonsSection(bare=10, beginnings=10, parts=10)
    recipe = Recipe(
        name="a", data=DataSection(choices=ChoicesSection(each=4), lessons=lessons), train=TrainSection(pack=640)
    )
    large = on_handwritten_rows(recipe)
    build_data(large)
    assert large.folder.name == "a-large"
    assert {path.name for path in (large.folder / "data").glob("*.jsonl")} == {
        f"{split}.jsonl" for split in ("train", "validation", "test")
    }
    assert len((large.folder / "data/train.jsonl").read_text(encoding="utf-8").splitlines()) == 302
