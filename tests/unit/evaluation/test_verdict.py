"""The verdict: its criteria, its errors, and that a checkpoint with a failed or missing verdict is not served."""

import json
import random
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scripted_server import GOOD
from core.errors import ArtefactError, VerdictError
from core.park import Scene
from core.reading import Reading
from core.sign import DEFAULT_SIGN
from data.compose import compose
from data.scenes import cases
from evaluation.answers import write_answers
from evaluation.scores import Answer
from evaluation.verdict import Bound, Criterion, judge, refuse_failed
from pipeline.drafts import DRAFTS_FILE
from pipeline.files import write_text
from pipeline.graph import MADE_FROM
from pipeline.manifest import Manifest
from pipeline.recipe import Recipe, VerdictSection, load_recipe
from pipeline.stage import run_stage
from pipeline.verdict import VERDICT, check_verdict
from serve.launch import UNCOMPILED, Variant, prepare
from serve.settings import ServeSettings
from tests.conftest import ROOT

THRESHOLDS = VerdictSection()
PROMPT = {"version": 2, "messages": [], "fingerprint": "x", "longest_prompt": 90, "longest_message": 30}
SHAPE = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64}


@cache
def good_answers() -> list[Answer]:
    rng = random.Random(1)
    return [Answer(reading, scene, compose(reading, scene, rng), "stop", 1) for _, reading, scene in cases(1)]


def awq_manifest(loss_ratio: float = 1.0, calibration_text: str | None = None) -> Manifest:
    settings = {"calibration_text": calibration_text}
    results = {"loss_ratio": loss_ratio}
    return Manifest(
        format=1, stage="awq", recipe="x", settings=settings, inputs={}, versions={}, files={}, results=results
    )


def failed(answers: list[Answer], manifest: Manifest | None = None) -> set[str]:
    return {row.key for row in judge(answers, THRESHOLDS, manifest or awq_manifest()) if not row.passed}


def test_good_answers_pass_every_criterion() -> None:
    rows = judge(good_answers(), THRESHOLDS, awq_manifest())
    assert [str(row) for row in rows if not row.passed] == []
    assert len(rows) == 13


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"text": "어제보다 99도 올라 포근해졌습니다. 겉옷은 벗어 들고 걸어 보세요."}, "right"),
        ({"text": "기온이 어제보다 1도 올라 포근합니다. 벤치에 앉아 읽던 책을 펼쳐 보세요."}, "fits_temperature"),
        ({"text": "어제보다 1도 올라 포근해졌습니다. 겉옷은 벗어 들고 아주 아주 오래 오래 걸어 보세요."}, "fits_sign"),
        ({"text": "출력: 어제보다 1도 올라 포근해졌습니다. 겉옷은 벗어 들고 걸어 보세요."}, "labels"),
        ({"text": "어제보다 1도 올라 포근해졌습니다. 캠핑장에서 쉬어 가세요."}, "absent"),
        ({"text": "어제보다 1도 올라 포근해졌습니다. 오늘도 걸어 보세요."}, "unsafe"),  # some of the days are dangerous
        ({"text": "어제보다 1도 올라 포근해졌습니다. 하늘을 보며 걸어 보세요."}, "untrue"),
        ({"finish": "length"}, "stopped"),
    ],
)
def test_one_wrong_answer_in_a_hundred_fails_its_criterion(change: dict[str, Any], key: str) -> None:
    answers = good_answers()
    bad = [replace(answer, **change) for answer in answers[::100]]
    assert key in failed(bad + answers[len(bad) :])


def test_one_label_or_unsafe_word_fails_and_one_wrong_number_or_new_word_does_not() -> None:
    answers = good_answers()

    def with_one(text: str, reading: Reading) -> set[str]:
        index = next(number for number, answer in enumerate(answers) if answer.reading == reading)
        return failed([*answers[:index], replace(answers[index], scene=None, text=text), *answers[index + 1 :]])

    mild, hot = Reading(10, 20), Reading(38, 38)
    assert with_one(GOOD, mild) == set()
    assert with_one(f"전광판 {GOOD}", mild) == {"labels"}
    assert with_one("어제와 변함없이 찌는 듯 덥습니다. 오늘도 걸어 보세요.", hot) == {"unsafe"}
    assert with_one(GOOD.replace("10도", "11도"), mild) == set()
    assert with_one(GOOD.replace("들고", "들고 훨훨"), mild) == set()


def test_a_lack_of_variety_fails() -> None:
    text = "어제와 같은 기온이라 오늘도 쾌적합니다. 벤치에 앉아 읽던 책을 펼쳐 보세요."
    parrot = [replace(answer, text=text) for answer in good_answers()]
    assert {"distinct", "commonest_activity", "elements"} <= failed(parrot)


@pytest.mark.parametrize(
    ("manifest", "keys"),
    [
        (awq_manifest(loss_ratio=1.021), {"loss_ratio"}),
        (awq_manifest(loss_ratio=1.02), set()),
        (awq_manifest(calibration_text="LICENSE"), {"foreign_calibration"}),
    ],
)
def test_loss_ratio_and_calibration_text_are_judged_too(manifest: Manifest, keys: set[str]) -> None:
    assert failed(good_answers(), manifest) == keys


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A fake run that satisfies every check before vLLM starts."""
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(ROOT / "recipes/nano.yaml", ["name=judged"])
    for stage in ("data", "base", "adapter", "merged", "awq"):
        files = {"prompt.json": json.dumps(PROMPT), "config.json": json.dumps(SHAPE), DRAFTS_FILE: "{}"}
        publish(recipe, stage, files)
    return recipe


def publish(recipe: Recipe, stage: str, files: dict[str, str], *, force: bool = False) -> None:
    def fill(folder: Path) -> dict[str, Any]:
        for name, text in files.items():
            write_text(folder / name, text)
        return {}

    inputs = {name: recipe.folder / name for name in MADE_FROM.get(stage, ())}
    run_stage(
        recipe.folder / stage, format=1, recipe=recipe.name, settings=files, inputs=inputs, build=fill, force=force
    )


def verdict(passed: bool) -> dict[str, str]:
    rows = [Criterion("right", "number and direction right", 0.5, Bound.AT_LEAST, 0.998, passed)]
    wrong = ["number and direction right: 10 → 20 °C: '어제보다 9도 올라'"]
    return {VERDICT: json.dumps({"passed": passed, "criteria": [asdict(row) for row in rows], "wrong": wrong})}


def test_a_checkpoint_with_a_passed_verdict_is_served(run: Recipe) -> None:
    with pytest.raises(VerdictError):
        check_verdict(run.folder)
    publish(run, "verdict", verdict(True))
    check_verdict(run.folder)
    refuse_failed(run)
    assert prepare(run, ServeSettings(port=8765), Variant.AWQ).checkpoint == run.folder / "awq"


def test_a_checkpoint_without_a_verdict_is_not_served(run: Recipe) -> None:
    with pytest.raises(VerdictError, match=r"has no verdict.\n.*--allow-failed-verdict"):
        check_verdict(run.folder)


def test_a_failed_verdict_blocks_serving_and_the_error_names_checkpoint_criteria_and_answers(run: Recipe) -> None:
    publish(run, "verdict", verdict(False))
    with pytest.raises(VerdictError, match="failed its verdict"):
        check_verdict(run.folder)
    with pytest.raises(VerdictError) as caught:
        refuse_failed(run)
    told = str(caught.value)
    assert "awq failed its verdict: number and direction right is 0.5, must be at least 0.998" in told
    assert "10 → 20 °C: '어제보다 9도 올라'" in told


def test_a_verdict_about_another_checkpoint_does_not_count(run: Recipe) -> None:
    publish(run, "verdict", verdict(True))
    publish(run, "awq", {"prompt.json": json.dumps(PROMPT | {"fingerprint": "y"})}, force=True)
    with pytest.raises(VerdictError, match="about another checkpoint"):
        check_verdict(run.folder)


def test_an_edited_verdict_is_rejected(run: Recipe) -> None:
    publish(run, "verdict", verdict(False))
    (run.folder / "verdict" / VERDICT).write_text(verdict(True)[VERDICT])
    with pytest.raises(ArtefactError, match=VERDICT):
        check_verdict(run.folder)


def test_serving_requires_a_passed_verdict_unless_a_failed_one_is_allowed(
    run: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.flags.can_compile", lambda: True)
    publish(run, "verdict", verdict(False))
    with pytest.raises(VerdictError):
        prepare(run, ServeSettings(port=8765), Variant.AWQ)
    ready = prepare(run, ServeSettings(port=8765, allow_failed_verdict=True), Variant.AWQ)
    assert ready.checkpoint == run.folder / "awq"
    assert "failed its verdict" in ready.note
    publish(run, "verdict", verdict(True))
    assert prepare(run, ServeSettings(port=8765), Variant.AWQ).note == ""
    assert (
        prepare(run, ServeSettings(port=8765), Variant.MERGED).checkpoint == run.folder / "merged"
    )  # for comparison only


def test_a_missing_compiler_is_noted_for_the_operator(run: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(run, "verdict", verdict(True))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert prepare(run, ServeSettings(port=8765), Variant.AWQ).note == UNCOMPILED


def test_every_answer_is_written_with_its_scene_and_problems(tmp_path: Path) -> None:
    rows = [(Reading(10, 20), None), (Reading(10, 20), Scene.of("봄", ["산책로", "벤치"]))]
    answers = [Answer(reading, scene, GOOD, "stop", 1) for reading, scene in rows]
    write_answers(tmp_path / "a.jsonl", {"AWQ": [replace(answers[0], finish="length"), *answers[1:]]}, DEFAULT_SIGN)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [answer.text for answer in answers]
    assert [line["problems"] for line in lines] == [["unfinished: length"], []]
    assert [(line["season"], line["elements"]) for line in lines] == [(None, None), ("봄", ["벤치", "산책로"])]
    assert {line["column"] for line in lines} == {"AWQ"}
