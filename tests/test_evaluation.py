"""The ladder and the gate end to end: real vLLM on every rung, and a run that was broken on purpose."""

import json
from pathlib import Path

import pytest

from benchmarks.broken_runs import wrong_template
from clients.evaluation.gate import pass_gate
from clients.evaluation.ladder import CLIENT, RUNGS
from clients.evaluation.report import read_scores
from data.artefact import read_manifest, verify
from data.errors import GateError
from data.recipe import Recipe, load_recipe
from tests.conftest import NAME, ROOT, run_room

EVERY = 60


def test_the_line_passed_its_gate(line: Path) -> None:
    verdict = json.loads((line / "gate/verdict.json").read_text())
    assert verdict["passed"] is True
    assert verify(line / "gate", full=True).inputs == {"awq": read_manifest(line / "awq").id}
    assert len((line / "gate/answers.jsonl").read_text().splitlines()) == 2716


def test_the_ladder_is_climbed_by_one_command(line: Path) -> None:
    command = ("clients", "evaluate", "--ladder", "--every", str(EVERY), "--set", f"name={NAME}")
    done = run_room(*command, timeout=600)
    assert done.returncode == 0, done.stderr
    scores = read_scores(line / "eval")
    assert list(scores) == [*RUNGS.values(), CLIENT]
    assert {found.answers for found in scores.values()} == {len(range(0, 2716, EVERY))}
    assert scores["base"].labels == 1.0
    assert scores["base"].passes == 0.0
    for name in list(scores)[1:]:
        assert scores[name].labels == 0.0, name
        assert scores[name].stopped == 1.0, name
        assert scores[name].passes > 0.9, name
    assert scores[CLIENT].passes == 1.0
    assert "| passes every check |" in done.stdout
    assert (line / "eval/report.html").stat().st_size > 50_000
    again = run_room(*command)
    assert "up to date" in again.stdout


def test_the_gate_catches_a_template_that_was_not_trained(
    line: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    options = ["--recipe=recipes/nano.yaml", "--set=name=pytest-broken"]
    broken = load_recipe(ROOT / "recipes/nano.yaml", ["name=pytest-broken"])
    assert "chat_template.jinja" in wrong_template(
        recipe, broken
    )  # refused before, but for somebody who gets round that
    with pytest.raises(GateError, match=r"awq did not pass the gate: number and direction right"):
        pass_gate(broken, options, force=True)
    verdict = json.loads((line.parent / "pytest-broken/gate/verdict.json").read_text())
    assert not verdict["passed"]
    assert verdict["wrong"]
    served = run_room("serve", "--demo", "--set", "name=pytest-broken")
    assert served.returncode == 1
    assert "did not pass the gate" in served.stderr
    assert "--allow-failed-gate" in served.stderr
