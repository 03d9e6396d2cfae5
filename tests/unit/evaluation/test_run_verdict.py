"""The verdict stage before a scripted model: every round is asked, the recipe's sign counts, a failure is written."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scripted_server import GOOD, LABELLED, Script, ScriptedServer, right_answer, saying, scripted
from core.errors import VerdictError
from core.prompt import read_user_text
from core.reading import Reading
from data.scenes import cases
from evaluation.scores import Answer
from evaluation.verdict import judge, run_verdict
from pipeline.graph import MADE_FROM
from pipeline.manifest import Manifest
from pipeline.recipe import Recipe, VerdictSection
from pipeline.stage import run_stage
from pipeline.verdict import VERDICT, check_verdict

READINGS = [Reading(10, 20), Reading(35, 22), Reading(-5, 8)]
# Three readings have little variety.
RECIPE = Recipe(name="tiny", verdict=VerdictSection(rounds=2, commonest_activity=1, elements=0, distinct=0.5))


@pytest.fixture(autouse=True)
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build a run up to a 4-bit checkpoint without weights; the grid has three readings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("data.scenes.usual_grid", lambda: iter(READINGS))
    for stage in ("data", "base", "adapter", "merged", "awq"):
        inputs = {name: RECIPE.folder / name for name in MADE_FROM.get(stage, ())}
        run_stage(
            RECIPE.folder / stage,
            format=1,
            recipe=RECIPE.name,
            settings={"calibration_text": None},
            inputs=inputs,
            build=lambda _: {"loss_ratio": 1.0},
        )


def judged(script: Script, monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """Run the verdict on a scripted model; return its server."""
    with scripted(script) as server:

        @contextmanager
        def served(*_: Any) -> Iterator[ScriptedServer]:
            yield server

        monkeypatch.setattr("evaluation.verdict.served", served)
        run_verdict(RECIPE)
    return server


def test_the_verdict_asks_every_reading_in_as_many_rounds_as_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    server = judged(right_answer, monkeypatch)
    asked = [read_user_text(request.body["messages"][-1]["content"]) for request in server.requests]
    assert Counter(reading for reading, _ in asked) == dict.fromkeys(READINGS, RECIPE.verdict.rounds)
    assert sorted(map(str, asked)) == sorted(
        str((reading, scene)) for _, reading, scene in cases(RECIPE.verdict.rounds)
    )
    assert len(set(asked)) == len(asked), "another round asks in another season"
    check_verdict(RECIPE.folder)


def test_a_failed_verdict_is_written_as_failed_with_its_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VerdictError, match="labels or markers is 1, must be at most 0"):
        judged(saying(LABELLED), monkeypatch)
    written = json.loads((RECIPE.folder / "verdict" / VERDICT).read_text(encoding="utf-8"))
    assert written["passed"] is False
    assert "labels" in {row["key"] for row in written["criteria"] if not row["passed"]}
    assert any(LABELLED in line for line in written["wrong"])
    assert any("10 → 20 °C, 봄, " in line for line in written["wrong"]), "the scene belongs to the question"
    lines = (RECIPE.folder / "verdict/answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == RECIPE.verdict.rounds * len(READINGS)
    with pytest.raises(VerdictError):
        check_verdict(RECIPE.folder)


def test_a_server_that_is_lent_is_asked_and_not_started_where_nothing_is_asked() -> None:
    with scripted(right_answer) as server:
        lent: list[ScriptedServer] = []

        def start() -> Any:
            lent.append(server)
            return server

        run_verdict(RECIPE, start)
        assert len(server.requests) == RECIPE.verdict.rounds * len(READINGS)
        run_verdict(RECIPE, start)
    assert len(lent) == 1, "the second time the verdict is there"


@pytest.mark.parametrize(
    ("sign", "fits"), [("20x2", True), ("14x2", False), ("20x1", False), ("scroll", True), ("scroll:40", False)]
)
def test_the_verdict_judges_the_fit_on_the_recipes_sign(sign: str, fits: bool) -> None:
    awq = Manifest(
        format=1,
        stage="awq",
        recipe="tiny",
        settings={"calibration_text": None},
        inputs={},
        versions={},
        files={},
        results={"loss_ratio": 1.0},
    )
    answer = Answer(READINGS[0], None, GOOD, "stop", 1)
    criteria = {row.key: row for row in judge([answer], VerdictSection(sign=sign), awq)}
    assert criteria["fits_sign"].passed is fits
