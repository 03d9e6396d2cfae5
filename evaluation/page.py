"""The report's files: a page for people, a JSON for machines, every answer as a line.

In: the answers of every variant, and the artefacts' manifests. Out: report.html, which needs no network and no other
file, report.json, answers.jsonl.
"""

import json
import random
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.errors import ArtefactError
from core.problem import Finding, Problem
from core.sense import BANDS, band_of
from core.sign import Sign
from evaluation.answers import write_answers
from evaluation.plots import draw_grid, draw_losses, draw_variety, draw_widths
from evaluation.scores import ROWS, Answer, Scores, score
from evaluation.variety import self_chrf
from pipeline.files import write_text
from pipeline.manifest import Manifest, read_manifest
from pipeline.recipe import Recipe
from pipeline.verdict import VERDICT

TEMPLATE = "page.html.j2"
SAMPLES = 8  # good answers shown of each band; failures are shown up to three times as many
PROBLEMS = {
    Problem.EMPTY: "빈 응답",
    Problem.NUMBER: "숫자가 틀림",
    Problem.DIRECTION: "방향이 틀림",
    Problem.LABEL: "라벨·표식",
    Problem.ONE_LINE: "한 줄이 아님",
    Problem.SENTENCES: "두 문장이 아님",
    Problem.WIDTH: "전광판 너비 초과",
    Problem.ALPHABET: "표출할 수 없는 글자",
    Problem.COMMAND: "제어 명령으로 읽힐 글자",
    Problem.WARNING: "기상 특보 용어",
    Problem.UNFINISHED: "문장이 끝나지 않음",
    Problem.SENSE: "기온에 맞지 않음",
    Problem.ABSENT: "공원에 없는 곳",
    Problem.SEASON: "계절에 맞지 않음",
    Problem.UNMEASURED: "측정하지 않은 것",
    Problem.UNSAFE: "안전하지 않음",
    Problem.UNKNOWN: "목록에 없는 낱말",
    Problem.UNUSUAL: "조건 밖에서 쓰인 문장",
}
BAND_NAMES = {"hot": "더운 날", "warm": "따뜻한 날", "cool": "선선한 날", "cold": "추운 날", "freezing": "몹시 추운 날"}
LABELS = {
    "answers": "응답 수",
    "right": "숫자와 방향이 맞음",
    "labels": "라벨이나 표식이 있음",
    "stopped": "턴 종료 토큰으로 끝남",
    "one_line": "한 줄 두 문장",
    "fits_temperature": "기온에 맞음",
    "fits_sign": "전광판에 들어감",
    "absent": "공원에 없는 곳을 말함",
    "unsafe": "더위·추위·급변에 안전하지 않음",
    "untrue": "알 수 없는 것을 단정함",
    "unknown": "목록에 없는 낱말이나 쓰임",
    "passes": "모든 검사 통과",
    "distinct": "서로 다른 문구",
    "commonest_activity": "가장 흔한 둘째 문장의 비율",
    "distinct_2": "서로 다른 단어 쌍 (distinct-2)",
    "elements": "등장한 공원 시설",
    "mean_cells": "평균 너비, 칸",
    "max_cells": "최대 너비, 칸",
    "second_tries": "두 번째 시도",
    "errors": "문구를 얻지 못함",
    "loss_ratio": "평가용 데이터 손실, AWQ / 병합",
    "foreign_calibration": "다른 데이터로 보정함",
}


def write_report(folder: Path, recipe: Recipe, columns: dict[str, list[Answer]], sign: Sign, judged: str) -> None:
    """Write report.html, report.json and answers.jsonl into a folder.

    Args:
        folder: the target folder.
        recipe: the run.
        columns: the answers of each variant, in the order of the table.
        sign: the sign that the answers must fit.
        judged: the column whose grid, widths and samples are shown.
    """
    scores = {name: score(answers, sign) for name, answers in columns.items()}
    alike = {name: self_chrf([answer.text for answer in answers]) for name, answers in columns.items()}
    content = {
        "recipe": recipe.model_dump(mode="json"),
        "sign": str(sign),
        "judged": judged,
        "columns": {name: {"scores": asdict(scores[name]), "self_chrf": alike[name]} for name in columns},
        "verdict": _verdict(recipe),
        "provenance": [_link(manifest) for manifest in _chain(recipe)],
    }
    write_answers(folder / "answers.jsonl", columns, sign)
    write_text(folder / "report.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    page = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            **content,
            rows=_rows(scores, alike),
            labels=LABELS,
            bands=[_band(band.name, columns[judged], sign) for band in BANDS],
            lines=sign.lines,
            grid=draw_grid(columns[judged], sign),
            variety=draw_variety(columns),
            widths=draw_widths(columns[judged], sign),
            losses=draw_losses(histories) if (histories := _histories(recipe)) else None,
        )
    )
    write_text(folder / "report.html", unicodedata.normalize("NFC", page))


def read_scores(folder: Path) -> dict[str, Scores]:
    """Return the scores of a written report, by column."""
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return {name: Scores(**column["scores"]) for name, column in content["columns"].items()}


def visible(text: str) -> str:
    """Return a text with its control characters made visible."""
    return "".join(f"⟨U+{ord(char):04X}⟩" if unicodedata.category(char)[0] == "C" else char for char in text)


def _rows(scores: dict[str, Scores], alike: dict[str, float]) -> list[dict[str, Any]]:
    rows = [
        {
            "label": LABELS[key],
            "term": label,
            "cells": [format(getattr(found, key), style) for found in scores.values()],
        }
        for key, label, style in ROWS
    ]
    values = [f"{value:.1f}" for value in alike.values()]
    return [
        *rows,
        {
            "label": "가장 비슷한 다른 문구와의 유사도 (self-chrF)",
            "term": "mean chrF to the nearest other",
            "cells": values,
        },
    ]


def _band(name: str, answers: Sequence[Answer], sign: Sign) -> dict[str, Any]:
    mine = [answer for answer in answers if band_of(answer.reading.today).name == name]
    wrong = [(answer, found) for answer in mine if (found := answer.contradictions(sign))]
    good = [answer for answer in mine if not answer.contradictions(sign)]
    chosen = random.Random(1).sample(good, min(SAMPLES, len(good)))
    return {
        "name": BAND_NAMES[name],
        "answers": len(mine),
        "wrong": len(wrong),
        "samples": [
            *(_sample(answer, found, sign) for answer, found in wrong[: 3 * SAMPLES]),
            *(_sample(answer, [], sign) for answer in chosen),
        ],
    }


def _sample(answer: Answer, found: list[Finding], sign: Sign) -> dict[str, Any]:
    return {
        "yesterday": answer.reading.yesterday,
        "today": answer.reading.today,
        "pages": [[visible(line) for line in page] for page in sign.pages(answer.text)],
        "problems": [(PROBLEMS[problem.problem], visible(problem.detail)) for problem in found],
    }


def _verdict(recipe: Recipe) -> dict[str, Any] | None:
    try:
        verdict: dict[str, Any] = json.loads((recipe.folder / "verdict" / VERDICT).read_text(encoding="utf-8"))
    except OSError:
        return None
    return verdict


def _chain(recipe: Recipe) -> list[Manifest]:
    try:
        last = read_manifest(recipe.folder / "awq")
    except ArtefactError:
        return []
    return [*last.ancestors.values(), last]


def _link(manifest: Manifest) -> dict[str, Any]:
    kept = ("stage", "recipe", "settings", "versions", "results", "created", "seconds", "peak_memory")
    return {"id": manifest.id, **{key: value for key, value in manifest.model_dump(mode="json").items() if key in kept}}


def _histories(recipe: Recipe) -> dict[str, list[dict[str, Any]]]:
    files = {"SFT": recipe.folder / "adapter" / "log.json", "DPO": recipe.folder / "dpo" / "log.json"}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.is_file()}


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # what a model writes may be anything
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
