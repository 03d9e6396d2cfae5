"""The verdict on the 4-bit checkpoint: serve it, ask it raw for the whole grid, compare its scores with thresholds.

In: runs/<recipe>/awq and the recipe's `verdict` section. Out: runs/<recipe>/verdict with verdict.json, which
`python -m serve` reads, and every answer. A failed verdict is published too: it names the failed criteria and the
answers behind them.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.errors import VerdictError
from core.sign import Sign
from data.scenes import cases
from evaluation.answers import write_answers
from evaluation.ask import ask_raw
from evaluation.scores import FORBIDS, ROWS, Answer, score, wrong_in
from evaluation.serving import served
from pipeline.files import write_text
from pipeline.graph import MADE_FROM
from pipeline.manifest import Manifest, read_manifest
from pipeline.recipe import Recipe, VerdictSection
from pipeline.stage import run_stage
from pipeline.verdict import VERDICT
from serve.launch import Variant
from serve.process import ModelServer

FORMAT = 5  # of this stage, see run_stage
NAMED = 5  # answers that an error names, for each criterion


class Bound(StrEnum):
    """The side of its threshold on which a value must lie."""

    AT_LEAST = "at least"
    AT_MOST = "at most"

    def allows(self, value: float, threshold: float) -> bool:
        """Return whether a value passes."""
        return value >= threshold if self is Bound.AT_LEAST else value <= threshold


CRITERIA = {
    "right": Bound.AT_LEAST,
    "stopped": Bound.AT_LEAST,
    "fits_temperature": Bound.AT_LEAST,
    "fits_sign": Bound.AT_LEAST,
    "distinct": Bound.AT_LEAST,
    "elements": Bound.AT_LEAST,
    "labels": Bound.AT_MOST,
    "absent": Bound.AT_MOST,
    "unsafe": Bound.AT_MOST,
    "untrue": Bound.AT_MOST,
    "commonest_activity": Bound.AT_MOST,
    "loss_ratio": Bound.AT_MOST,
    "foreign_calibration": Bound.AT_MOST,
}


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of the verdict: a value and its threshold."""

    key: str
    label: str
    value: float
    bound: Bound
    threshold: float
    passed: bool

    def __str__(self) -> str:
        return f"{self.label} is {self.value:.4g}, must be {self.bound} {self.threshold:.4g}"


def run_verdict(
    recipe: Recipe, start: Callable[[], ModelServer] | None = None, *, force: bool = False
) -> tuple[Manifest, bool]:
    """Judge the 4-bit checkpoint unless it was judged already; return the manifest and whether it is new.

    Args:
        recipe: names the checkpoint and the thresholds.
        start: returns a server of it that the caller stops; None: a server for the verdict alone.
        force: judge it again.

    Raises:
        VerdictError: the checkpoint is not good enough; the text names criteria and answers.
    """

    def fill(folder: Path) -> dict[str, Any]:
        with nullcontext(start()) if start else served(recipe, Variant.AWQ) as server:
            asked = ask_raw(list(cases(recipe.verdict.rounds)), server.url, recipe.serve.model_name, "none")
            answers = asyncio.run(asked)
        criteria = judge(answers, recipe.verdict, read_manifest(recipe.folder / "awq"))
        write_answers(folder / "answers.jsonl", {"awq": answers}, Sign.parse(recipe.verdict.sign))
        passed = all(criterion.passed for criterion in criteria)
        verdict = {
            "passed": passed,
            "criteria": [asdict(criterion) for criterion in criteria],
            "wrong": _examples(criteria, answers, recipe.verdict),
        }
        write_text(folder / VERDICT, json.dumps(verdict, ensure_ascii=False, indent=1))
        return {"passed": passed, "answers": len(answers)}

    manifest, built = run_stage(
        recipe.folder / "verdict",
        format=FORMAT,
        recipe=recipe.name,
        settings=recipe.verdict.model_dump(),
        inputs={name: recipe.folder / name for name in MADE_FROM["verdict"]},
        build=fill,
        force=force,
    )
    refuse_failed(recipe)
    return manifest, built


def judge(answers: list[Answer], thresholds: VerdictSection, awq: Manifest) -> list[Criterion]:
    """Compare the answers' scores and the quantization's measurements with the thresholds."""
    measured = asdict(score(answers, Sign.parse(thresholds.sign))) | {
        "loss_ratio": awq.results["loss_ratio"],
        # a text that harms nothing here may harm a larger model; nobody would notice before the board shows it
        "foreign_calibration": float(awq.settings["calibration_text"] is not None),
    }
    labels = {key: label for key, label, _ in ROWS} | {
        "loss_ratio": "held-out loss, AWQ / merged",
        "foreign_calibration": "calibrated on something else than its own rows",
    }
    wanted = thresholds.model_dump() | {"foreign_calibration": 0.0}
    return [
        Criterion(key, labels[key], measured[key], bound, wanted[key], bound.allows(measured[key], wanted[key]))
        for key, bound in CRITERIA.items()
    ]


def refuse_failed(recipe: Recipe) -> None:
    """Raise if the verdict failed.

    Raises:
        VerdictError: the verdict failed; the text names the checkpoint, the failed criteria and some answers.
    """
    folder = recipe.folder / "verdict"
    verdict = json.loads((folder / VERDICT).read_text(encoding="utf-8"))
    if verdict["passed"]:
        return
    failed = [
        Criterion(**{**entry, "bound": Bound(entry["bound"])}) for entry in verdict["criteria"] if not entry["passed"]
    ]
    examples = "".join(f"\n    {line}" for line in verdict["wrong"])
    raise VerdictError(
        f"{recipe.folder / 'awq'} failed its verdict: " + "; ".join(map(str, failed)) + f".{examples}",
        f"See {folder / 'answers.jsonl'}; correct data or settings and build again, or serve it anyway with "
        "--allow-failed-verdict.",
    )


def _examples(criteria: list[Criterion], answers: list[Answer], thresholds: VerdictSection) -> list[str]:
    sign = Sign.parse(thresholds.sign)
    return [
        f"{criterion.label}: {_told(answer)}: {answer.text!r}"
        for criterion in criteria
        if not criterion.passed and criterion.key in FORBIDS
        for answer in wrong_in(answers, criterion.key, sign)[:NAMED]
    ]


def _told(answer: Answer) -> str:
    scene = f"{answer.scene.season}, {', '.join(answer.scene.elements)}" if answer.scene else "plain prompt"
    return f"{answer.reading.yesterday} → {answer.reading.today} °C, {scene}"
