"""DPO on the nano line: an adapter in the SFT adapter's place, with its provenance, and only if enabled."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from benchmarks.scripted_server import GOOD
from core.errors import RecipeError, StageError
from core.reading import Reading
from data.preferences import Pair
from merge.adapter import read_adapter
from merge.stages import run_fold
from pipeline.graph import MADE_FROM
from pipeline.manifest import read_manifest, verify
from pipeline.recipe import load_recipe
from tests.conftest import ROOT, run_room
from tests.line.test_line import card_of
from tests.support.kormo_like import BOS, write_tokenizer
from tests.support.tiny import tiny_llama, write_kormo
from tests.support.training import prepared
from training import dpo
from training.dpo import prove_tokens, refuse_other_reference, refuse_unchanged
from training.stages import own_failures, run_dpo, run_sft
from training.tokenization import load_tokenizer, row_ids

NAME = "pytest-dpo"
CHANGES = [f"name={NAME}", "dpo.enabled=true", "dpo.pairs=60", "dpo.learning_rate=1e-4"]
OPTIONS = [part for change in CHANGES for part in ("--set", change)]
NANO = ROOT / "training/base/nano"


@pytest.fixture(scope="module")
def run(line: Path) -> Path:
    """Train on the session's SFT adapter, and fold."""
    folder = ROOT / load_recipe(ROOT / "recipes/nano.yaml", CHANGES).folder
    shutil.rmtree(folder, ignore_errors=True)
    for stage in ("data", "base", "adapter"):
        shutil.copytree(line / stage, folder / stage)
    for arguments in (("training", "dpo"), ("merge", "fold")):
        done = run_room(*arguments, *OPTIONS)
        assert done.returncode == 0, done.stderr
    return folder


def test_it_learns_to_rank_held_out_pairs(run: Path) -> None:
    found = read_manifest(run / "dpo").results
    assert sum(found["pairs"].values()) == 60
    assert set(found["pairs"].values()) <= {8, 9}  # seven kinds in turn
    assert found["steps"] == 30
    assert (
        found["dpo_loss"] < found["dpo_loss_before"] == pytest.approx(0.6931, abs=1e-3)
    )  # ln 2: it begins as the reference
    assert found["reward_accuracy"] > 0.6
    assert found["reward_margin"] > 0


def test_it_is_one_ordinary_adapter_like_the_sft_one(run: Path) -> None:
    names = {path.name for path in (run / "dpo").iterdir()}
    assert names == {path.name for path in (run / "adapter").iterdir()} | {"preferences.jsonl"}
    configs = [json.loads((run / stage / "adapter_config.json").read_text()) for stage in ("adapter", "dpo")]
    assert {key for key in configs[0] if configs[0][key] != configs[1].get(key)} <= {"base_model_name_or_path"}
    before, after = (load_file(run / stage / "adapter_model.safetensors") for stage in ("adapter", "dpo"))
    assert before.keys() == after.keys()
    assert not all(torch.equal(before[name], after[name]) for name in before)
    assert (run / "dpo/prompt.json").read_bytes() == (run / "adapter/prompt.json").read_bytes()


def test_the_fold_uses_the_dpo_adapter_and_records_it(run: Path) -> None:
    merged = verify(run / "merged", full=True)
    assert set(merged.inputs) == {*MADE_FROM["merged"], "dpo"}
    assert {link.stage for link in merged.ancestors.values()} == {"data", "base", "adapter", "dpo"}
    assert merged.results["max_logprob_difference"] < 0.5
    assert f"| dpo | {read_manifest(run / 'dpo').id[:16]} |" in card_of(run / "merged")


def test_a_second_run_changes_nothing(run: Path) -> None:
    before = (run / "dpo/manifest.json").read_bytes()
    done = run_room("training", "dpo", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
    assert (run / "dpo/manifest.json").read_bytes() == before


def test_it_is_skipped_unless_enabled() -> None:
    done = run_room("training", "dpo", "--set", "name=pytest-no-dpo")
    assert done.returncode == 0, done.stderr
    assert "dpo.enabled is false" in done.stdout
    assert not (ROOT / "runs/pytest-no-dpo").exists()


def test_other_tokens_than_the_templates_are_rejected() -> None:
    tokenizer = load_tokenizer(NANO)
    pair = Pair(Reading(10, 20), None, GOOD, "출력: 네.", "label")
    talk = pair.as_conversation()
    row: dict[str, Any] = {}
    for side in ("chosen", "rejected"):
        ids, prompt = row_ids(tokenizer, {"prompt": talk["prompt"], "completion": talk[side]})
        row |= {"prompt_ids": ids[:prompt], f"{side}_ids": ids[prompt:]}
    prove_tokens(tokenizer, [pair], [row], 512)
    for damaged in (row | {"chosen_ids": row["chosen_ids"][:-1]}, row | {"rejected_ids": [*row["rejected_ids"], 1]}):
        with pytest.raises(StageError, match="differ from the chat template"):
            prove_tokens(tokenizer, [pair], [damaged], 512)
    for left in ([row], []):  # TRL leaves a pair out if its prompt alone is too long
        with pytest.raises(StageError, match=r"dpo\.max_length"):
            prove_tokens(tokenizer, [pair], left, 32)


def test_an_unchanged_adapter_is_rejected() -> None:
    named = {"a.default.weight": torch.ones(2), "a.ref.weight": torch.ones(2)}

    class Fake:
        def named_parameters(self) -> Any:
            return named.items()

    with pytest.raises(StageError, match="learned nothing"):
        refuse_unchanged(Fake())
    named["a.default.weight"] = torch.zeros(2)
    refuse_unchanged(Fake())


def test_qlora_loses_no_step_to_rounding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = prepared(monkeypatch, tmp_path, "train.load_in_4bit=true", "dpo.enabled=true", "dpo.pairs=24")
    run_sft(recipe)
    found = run_dpo(recipe)[0].results
    assert found["dpo_loss_before"] == pytest.approx(0.6931, abs=1e-4)
    before, after = (load_file(recipe.folder / stage / "adapter_model.safetensors") for stage in ("adapter", "dpo"))
    moved = torch.cat([(before[name] != after[name]).flatten() for name in before]).float().mean()
    assert moved > 0.99
    verify(recipe.folder / "dpo", full=True)


def test_own_failures_alone_are_learned_on_matrices_that_are_rounded_as_in_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    targets = "[q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj]"
    rounded = ("train.qat_group_size=32", "merge.fold=qat", "quantize.group_size=32")
    whole = ("train.lora.dropout=0", f"train.lora.target_modules={targets}")
    learned = ("dpo.enabled=true", "dpo.pairs=0", "dpo.failures=answers.jsonl", "dpo.learning_rate=1e-4")
    recipe = prepared(monkeypatch, tmp_path, *rounded, *whole, *learned)
    answers = [
        {"yesterday": 0, "today": today, "season": None, "elements": None, "text": GOOD} for today in range(11, 25)
    ]
    (tmp_path / "answers.jsonl").write_text("".join(f"{json.dumps(answer)}\n" for answer in answers))
    run_sft(recipe)
    trained: list[Any] = []
    monkeypatch.setattr(dpo, "refuse_unchanged", trained.append)
    found = run_dpo(recipe)[0].results
    assert found["dpo_loss_before"] == pytest.approx(0.6931, abs=1e-4)
    assert found["pairs"].keys() == {"own"}
    run_fold(recipe)
    served = AutoModelForCausalLM.from_pretrained(recipe.folder / "merged", dtype=torch.float32)
    ids = torch.arange(100, 140).reshape(1, -1)
    with torch.no_grad():
        apart = (trained[0](ids).logits - served(ids).logits).abs().mean()
    assert apart < 0.1, "0.6 where preferences are learned on matrices that are not rounded"


def test_rows_of_new_tokens_are_trained_and_in_the_reference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama(BOS + 154))
    write_tokenizer(NANO, source)
    chatml = (f"base.path={source}", "base.chat_format=chatml", "train.lora.new_tokens=true")
    recipe = prepared(monkeypatch, tmp_path, *chatml, "train.learning_rate=0.01", "dpo.enabled=true", "dpo.pairs=6")
    recipe = recipe.model_copy(
        update={"dpo": recipe.dpo.model_copy(update={"learning_rate": 1e-3})}
    )  # six pairs must be learned
    run_sft(recipe)
    found_pairs = dpo.preference_pairs(recipe)
    few = dict.fromkeys(
        found_pairs, found_pairs["train"][:6]
    )  # few: the vocabulary makes it slow; the same, to be learned
    monkeypatch.setattr(dpo, "preference_pairs", lambda _: few)
    found = run_dpo(recipe)[0].results
    assert found["dpo_loss_before"] == pytest.approx(0.6931, abs=1e-4)
    before, after = (load_file(recipe.folder / stage / "adapter_model.safetensors") for stage in ("adapter", "dpo"))
    rows = [name for name in before if "trainable_tokens" in name]
    assert len(rows) == 2
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in rows)
    assert read_adapter(recipe.folder / "dpo", recipe.folder / "base").rows.keys() == {
        "model.embed_tokens.weight",
        "lm_head.weight",
    }


def test_another_reference_is_rejected() -> None:
    refuse_other_reference(0.6932)
    with pytest.raises(StageError, match="reference is not the SFT adapter"):
        refuse_other_reference(0.6887)


def test_failures_must_be_there_and_outside_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def failures(path: str) -> dict[str, Path]:
        return own_failures(load_recipe(ROOT / "recipes/nano.yaml", [f"dpo.failures={path}"]))

    inside = Path("runs/nano/verdict/answers.jsonl")
    inside.parent.mkdir(parents=True)
    for path in (inside, Path("answers.jsonl")):
        path.write_text("")
    assert failures("null") == {}
    assert failures("answers.jsonl") == {"failures": Path("answers.jsonl")}
    with pytest.raises(RecipeError, match=r"there is no file missing\.jsonl"):
        failures("missing.jsonl")
    with pytest.raises(RecipeError, match="written again after DPO"):
        failures(str(inside))
