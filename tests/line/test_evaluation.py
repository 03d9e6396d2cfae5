"""The report and the verdict end to end: real vLLM on every variant, and a run that was broken on purpose."""

import json
from pathlib import Path

import pytest

from benchmarks.broken_runs import wrong_template
from core.errors import VerdictError
from evaluation.page import read_scores
from evaluation.report import CLIENT, COLUMNS
from evaluation.verdict import run_verdict
from pipeline.manifest import read_manifest, verify
from pipeline.recipe import Recipe, load_recipe
from tests.conftest import ROOT, run_room
from tests.line.conftest import NAME

EVERY = 60


def test_the_line_passed_its_verdict(line: Path, recipe: Recipe) -> None:
    verdict = json.loads((line / "verdict/verdict.json").read_text())
    assert verdict["passed"] is True
    assert verify(line / "verdict", full=True).inputs == {"awq": read_manifest(line / "awq").id}
    assert len((line / "verdict/answers.jsonl").read_text().splitlines()) == 3481 * recipe.verdict.rounds


def test_the_report_is_written_by_one_command(line: Path) -> None:
    command = ("evaluation", "report", "--every", str(EVERY), "--set", f"name={NAME}")
    done = run_room(*command, timeout=600)
    assert done.returncode == 0, done.stderr
    scores = read_scores(line / "report")
    assert list(scores) == [*COLUMNS.values(), CLIENT]
    assert {found.answers for found in scores.values()} == {len(range(0, 3481, EVERY))}
    assert scores["base"].labels == 1.0
    assert scores["base"].passes == 0.0
    for name in list(scores)[1:]:
        assert scores[name].labels == 0.0, name
        assert scores[name].stopped == 1.0, name
        assert scores[name].passes > 0.9, name
    assert scores[CLIENT].passes == 1.0
    assert "| passes every check" in done.stdout
    assert (line / "report/report.html").stat().st_size > 50_000
    again = run_room(*command)
    assert "up to date" in again.stdout


def test_the_verdict_catches_a_template_that_was_not_trained(
    line: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    broken = load_recipe(ROOT / "recipes/nano.yaml", ["name=pytest-broken"])
    assert "chat_template.jinja" in wrong_template(
        recipe, broken
    )  # refused before, but for somebody who gets round that
    with pytest.raises(VerdictError, match=r"awq failed its verdict: number and direction right"):
        run_verdict(broken, force=True)
    verdict = json.loads((line.parent / "pytest-broken/verdict/verdict.json").read_text())
    assert not verdict["passed"]
    assert verdict["wrong"]
    served = run_room("serve", "vllm", "--set", "name=pytest-broken")
    assert served.returncode == 1
    assert "failed its verdict" in served.stderr
    assert "--allow-failed-verdict" in served.stderr
