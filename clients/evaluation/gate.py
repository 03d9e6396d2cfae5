"""The gate: the 4-bit checkpoint is served and asked raw for the whole grid; only one that is good enough goes on.

In: runs/<recipe>/awq and the recipe's `gate` section. Out: runs/<recipe>/gate with verdict.json, which
`python -m serve` reads, and every answer. A failed verdict is published too: it says which rows failed, and by which
answers.
"""

import asyncio
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clients.evaluation.answers import write_answers
from clients.evaluation.asking import ask_raw
from clients.evaluation.scores import FORBIDS, ROWS, Answer, score, wrong_in
from clients.evaluation.serving import served
from data.artefact import MADE_FROM, Manifest, read_manifest, run_stage, write_text
from data.errors import GateError
from data.gate import VERDICT
from data.reading import usual_grid
from data.recipe import GateSection, Recipe
from data.sign import Sign

AT_LEAST = ("right", "stopped", "fits_temperature", "fits_sign", "distinct", "elements")
AT_MOST = ("labels", "commonest_activity", "loss_ratio", "foreign_calibration")
NAMED = 5  # answers that an error names


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the verdict."""

    key: str
    label: str
    value: float
    bound: str  # "at least" or "at most"
    threshold: float
    passed: bool

    def __str__(self) -> str:
        return f"{self.label} {_number(self.value)}, {self.bound} {_number(self.threshold)} asked"


def pass_gate(recipe: Recipe, options: list[str], *, force: bool = False) -> tuple[Manifest, bool]:
    """Judge the 4-bit checkpoint unless it was judged already; return the manifest and whether it was judged now.

    Args:
        recipe: the run.
        options: `--recipe` and `--set` with which it was read.
        force: ask again.

    Raises:
        GateError: the checkpoint is not good enough; rows and answers are named.
    """

    def fill(folder: Path) -> dict[str, Any]:
        with served(recipe, options, "awq") as url:
            asked = ask_raw(list(usual_grid()), url, recipe.serve.model_name, "none", rounds=recipe.gate.rounds)
            answers = asyncio.run(asked)
        rows = judge(answers, recipe.gate, read_manifest(recipe.run / "awq"))
        write_answers(folder / "answers.jsonl", {"awq": answers}, Sign.parse(recipe.gate.sign))
        passed = all(row.passed for row in rows)
        verdict = {"passed": passed, "rows": [asdict(row) for row in rows], "wrong": _named(rows, answers, recipe.gate)}
        write_text(folder / VERDICT, json.dumps(verdict, ensure_ascii=False, indent=1))
        return {"passed": passed, "answers": len(answers)}

    manifest, built = run_stage(
        recipe.run / "gate",
        recipe=recipe.name,
        settings=recipe.gate.model_dump(),
        inputs={name: recipe.run / name for name in MADE_FROM["gate"]},
        build=fill,
        force=force,
    )
    refuse_failed(recipe)
    return manifest, built


def judge(answers: list[Answer], gate: GateSection, awq: Manifest) -> list[Row]:
    """Compare what was measured, on the answers and by the quantization, with the thresholds."""
    found = asdict(score(answers, Sign.parse(gate.sign))) | {
        "loss_ratio": awq.results["loss_ratio"],
        # a text that harms nothing here may harm a larger model; nobody would notice before the board shows it
        "foreign_calibration": float(awq.settings["calibration_text"] is not None),
    }
    labels = {key: label for key, label, _ in ROWS} | {
        "loss_ratio": "held-out loss, AWQ / merged",
        "foreign_calibration": "calibrated on something else than its own rows",
    }
    wanted = gate.model_dump() | {"foreign_calibration": 0.0}

    def row(key: str, bound: str) -> Row:
        value, threshold = found[key], wanted[key]
        passed = value >= threshold if bound == "at least" else value <= threshold
        return Row(key, labels[key], value, bound, threshold, passed)

    return [*(row(key, "at least") for key in AT_LEAST), *(row(key, "at most") for key in AT_MOST)]


def refuse_failed(recipe: Recipe) -> None:
    """Raise for a verdict that failed.

    Raises:
        GateError: naming the rung, the rows and some answers.
    """
    folder = recipe.run / "gate"
    verdict = json.loads((folder / VERDICT).read_text(encoding="utf-8"))
    if verdict["passed"]:
        return
    failed = [Row(**row) for row in verdict["rows"] if not row["passed"]]
    examples = "".join(f"\n    {line}" for line in verdict["wrong"])
    raise GateError(
        f"{recipe.run / 'awq'} did not pass the gate: " + "; ".join(map(str, failed)) + f".{examples}",
        f"Look into {folder / 'answers.jsonl'}; mend data or settings and build again, or serve it as it is with "
        "--allow-failed-gate.",
    )


def _named(rows: list[Row], answers: list[Answer], gate: GateSection) -> list[str]:
    sign = Sign.parse(gate.sign)
    return [
        f"{row.label}: {answer.reading.yesterday} → {answer.reading.today} °C: {answer.text!r}"
        for row in rows
        if not row.passed and row.key in FORBIDS
        for answer in wrong_in(answers, row.key, sign)[:NAMED]
    ]


def _number(value: float) -> str:
    return f"{value:.4g}"
