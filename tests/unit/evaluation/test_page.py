"""The report: failures first, hostile text harmless, one file alone, the same numbers for people and machines."""

import json
import random
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scripted_server import GOOD
from core.problem import Problem
from core.reading import Reading
from core.sign import DEFAULT_SIGN, Sign
from data.compose import compose
from data.scenes import cases
from evaluation.page import LABELS, PROBLEMS, read_scores, visible, write_report
from evaluation.plots import passed_share
from evaluation.scores import ROWS, Answer, score
from evaluation.variety import self_chrf
from pipeline.recipe import Recipe, load_recipe
from tests.conftest import ROOT

HOSTILE = "어제보다 1도 올라 <script>alert(1)</script>\x1b[2J 화창합니다. 벤치에서 쉬어가세요."


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.chdir(tmp_path)  # there are no runs
    return load_recipe(ROOT / "recipes/nano.yaml")


def answers(every: int = 1, seed: int = 1) -> list[Answer]:
    rng = random.Random(seed)
    return [Answer(reading, scene, compose(reading, scene, rng), "stop", 1) for _, reading, scene in cases(1, every)]


def report(recipe: Recipe, folder: Path, judged: list[Answer], sign: Sign = DEFAULT_SIGN) -> str:
    folder.mkdir()
    write_report(folder, recipe, {"base": answers(90, 2), "AWQ": judged}, sign, judged="AWQ")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_failures_come_first_in_their_band_with_the_reason(recipe: Recipe, tmp_path: Path) -> None:
    found = answers(30)
    wrong = replace(found[40], text=f"99도 {found[40].text}")
    page = report(recipe, tmp_path / "eval", [*found[:40], wrong, *found[41:]])
    bands = page.split("<h3>")[1:]
    assert len(bands) == 5
    assert [band.count('class="sign wrong"') for band in bands].count(1) == 1
    band = next(band for band in bands if "sign wrong" in band)
    assert band.index("sign wrong") < band.index('class="sign"')
    assert PROBLEMS[Problem.NUMBER] in band
    assert f"99도 {found[40].text.split()[0]}" in band


def test_model_output_is_escaped_in_the_report(recipe: Recipe, tmp_path: Path) -> None:
    page = report(recipe, tmp_path / "eval", [Answer(Reading(19, 20), None, HOSTILE, "stop", 1), *answers(90)])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "⟨U+001B⟩" in page


def test_the_page_needs_no_other_file_and_no_network(recipe: Recipe, tmp_path: Path) -> None:
    page = report(recipe, tmp_path / "eval", answers(60))
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
    assert "http:" not in page
    assert "https:" not in page
    assert page.count("data:image/png;base64,") == 3  # no training, no loss curve
    assert unicodedata.is_normalized("NFC", page)


def test_report_json_and_answers_hold_the_same_numbers_as_the_page(recipe: Recipe, tmp_path: Path) -> None:
    found = [replace(answer, finish="length") if i % 7 == 0 else answer for i, answer in enumerate(answers(20))]
    page = report(recipe, tmp_path / "eval", found)
    scores = read_scores(tmp_path / "eval")
    assert scores == {"base": score(answers(90, 2)), "AWQ": score(found)}
    for key, _, style in ROWS:
        assert format(getattr(scores["AWQ"], key), style) in page
    lines = [json.loads(line) for line in (tmp_path / "eval/answers.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines if line["column"] == "AWQ"] == [answer.text for answer in found]
    assert sum(bool(line["problems"]) for line in lines) == sum(answer.finish == "length" for answer in found)


def test_the_sign_decides_what_fits(recipe: Recipe, tmp_path: Path) -> None:
    report(recipe, tmp_path / "narrow", answers(60), Sign.parse("10x2"))
    report(recipe, tmp_path / "scroll", answers(60), Sign.parse("scroll:83"))  # two pages of two full lines, and spaces
    assert read_scores(tmp_path / "narrow")["AWQ"].fits_sign < 0.1
    assert read_scores(tmp_path / "scroll")["AWQ"].fits_sign == 1.0


def test_the_verdict_is_shown_once_there_is_one(recipe: Recipe, tmp_path: Path) -> None:
    assert "아직 판정하지 않음" in report(recipe, tmp_path / "before", answers(90))
    row = {"key": "right", "label": "number and direction right", "value": 0.9, "bound": "at least", "threshold": 0.998}
    verdict = {"passed": False, "criteria": [row | {"passed": False}], "wrong": ["10 → 20 °C: <b>"]}
    (recipe.folder / "verdict").mkdir(parents=True)
    (recipe.folder / "verdict/verdict.json").write_text(json.dumps(verdict))
    page = report(recipe, tmp_path / "after", answers(90))
    assert "판정 미달" in page
    assert "미달" in page
    assert "10 → 20 °C: &lt;b&gt;" in page


def test_every_problem_and_row_has_a_korean_name() -> None:
    assert set(PROBLEMS) == set(Problem)
    assert {key for key, _, _ in ROWS} <= set(LABELS)


def test_the_grid_counts_rounds() -> None:
    good = Answer(Reading(10, 20), None, GOOD, "stop", 1)
    shares = passed_share(
        [good, replace(good, seed=1, finish="length"), replace(good, reading=Reading(-35, -10))], DEFAULT_SIGN
    )
    assert shares.shape == (81, 81)
    assert shares[55, 45] == 0.5  # [today, yesterday] from -35
    assert shares[25, 0] == 0.0
    assert np.isnan(shares).sum() == 81 * 81 - 2


def test_similar_messages_score_high() -> None:
    assert self_chrf([GOOD, GOOD, GOOD]) == pytest.approx(100)
    assert self_chrf([answer.text for answer in answers(20)]) < 80
    assert self_chrf([GOOD, "", ""]) == 0.0


def test_control_characters_are_made_visible() -> None:
    assert visible("가\x00나\u200b") == "가⟨U+0000⟩나⟨U+200B⟩"
