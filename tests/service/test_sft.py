"""Training: it learns the completion, end-of-turn included; wrong set-ups are rejected before the first step."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from core.errors import ArtefactError, StageError
from data.sets import handwritten
from merge.stages import run_fold
from pipeline.recipe import MergeSection
from tests.conftest import ROOT
from tests.support.kormo_like import BOS, write_tokenizer
from tests.support.tiny import tiny_llama, write_kormo
from tests.support.training import prepared
from training import packing, sft
from training.sft import read_lessons
from training.stages import run_sft
from training.tokenization import load_tokenizer, row_ids
from training.trainer import out_of_memory_advice

NANO = ROOT / "training/base/nano"
Change = dict[str, Any]


def changed_tokenizer(tmp_path: Path, **changes: object) -> Path:
    folder = tmp_path / "tokenizer"
    shutil.copytree(NANO, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_the_last_label_is_the_end_of_turn() -> None:
    tokenizer = load_tokenizer(NANO)
    for row in handwritten()["test"]:
        ids, prompt = row_ids(tokenizer, row.as_conversation())
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids[prompt:]) == f"{row.message}<|im_end|>"
        assert tokenizer.eos_token_id not in ids[prompt:-1]


def test_markers_are_single_tokens_and_digits_stay_single() -> None:
    tokenizer = AutoTokenizer.from_pretrained(NANO)
    for marker in ("<|im_start|>", "<|im_end|>", "<|pad|>"):
        assert len(tokenizer.encode(marker, add_special_tokens=False)) == 1
    assert [tokenizer.decode([i]) for i in tokenizer.encode("-12도", add_special_tokens=False)] == ["-", "1", "2", "도"]


def test_padding_with_the_end_of_turn_token_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="pad and eos must differ"):
        load_tokenizer(changed_tokenizer(tmp_path, pad_token="<|im_end|>"))


def test_a_tokenizer_without_template_is_rejected(tmp_path: Path) -> None:
    folder = changed_tokenizer(tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ArtefactError, match="no chat template"):
        load_tokenizer(folder)


def test_learning_the_prompt_too_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = prepared(monkeypatch, tmp_path)
    arguments = sft.sft_config

    def whole_conversation(*given: Any) -> Any:
        config = arguments(*given)
        config.completion_only_loss = False
        return config

    monkeypatch.setattr(sft, "sft_config", whole_conversation)
    with pytest.raises(StageError, match="labels differ"):
        run_sft(recipe)
    assert not (recipe.folder / "adapter").exists()


def test_a_training_that_diverges_publishes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = prepared(monkeypatch, tmp_path, "train.learning_rate=3e4")  # a slip for 3e-4
    with pytest.raises(StageError, match=r"diverged: its validation loss went from \d\.\d+ to ") as caught:
        run_sft(recipe)
    assert "train.learning_rate" in caught.value.todo
    assert not (recipe.folder / "adapter").exists()


def test_a_cut_row_is_rejected_not_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = prepared(monkeypatch, tmp_path, "train.max_length=64")
    with pytest.raises(StageError, match="max_length"):
        run_sft(recipe)


PACKED = ("train.pack=300", "data.rows_per_scene=4", "data.lessons.bare=40", "data.lessons.parts=5")


@pytest.mark.parametrize("bf16", [False, True])
def test_packed_rows_are_learned_after_their_lessons(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    bf16: bool,
) -> None:
    learning = ("data.rows=80", "train.epochs=4", "train.learning_rate=3e-3", f"train.bf16={bf16}")
    recipe = prepared(monkeypatch, tmp_path, *PACKED, *learning)
    results = run_sft(recipe)[0].results
    assert results["validation_loss"] < results["validation_loss_before"] / 2
    assert (results["rows"], results["bf16"]) == (80, bf16)
    lessons = read_lessons(recipe)
    assert results["lessons"] == len(lessons) > 40 + 5 * 5, "bare ones, and several parts of each of five readings"
    assert results["steps"] < 4 * (80 + len(lessons)) / 3, "several rows in a sequence"


def test_an_adapter_that_learned_rounded_is_folded_as_it_was_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    rounded = ("train.qat_group_size=32", "quantize.group_size=32", "merge.fold=qat", "train.lora.dropout=0")
    learning = (f"train.lora.target_modules=[{','.join(whole)}]", "data.rows=80", "train.learning_rate=3e-3")
    recipe = prepared(monkeypatch, tmp_path, *PACKED, *rounded, *learning)
    trained = run_sft(recipe)[0].results
    assert trained["validation_loss"] < trained["validation_loss_before"] / 2
    folded = run_fold(recipe)[0].results
    assert folded["fold"] == "qat"
    assert folded["loss_merged"] == pytest.approx(folded["loss_base_adapter"], rel=0.02)
    plain = run_fold(recipe.model_copy(update={"merge": MergeSection()}), force=True)[0].results
    assert plain["loss_merged"] != pytest.approx(folded["loss_merged"], rel=0.001), "the rounding shows"


def test_bare_lessons_have_shorter_sequences_where_the_recipe_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps = [
        run_sft(prepared(monkeypatch, tmp_path, *PACKED, f"train.pack_bare={size}"))[0].results["steps"]
        for size in (300, 60)
    ]
    assert steps[1] >= steps[0] + 3  # 40 rows of about 7 tokens: one sequence, or five


def test_a_packed_row_that_reads_another_is_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = prepared(monkeypatch, tmp_path, *PACKED)
    right = packing.collate

    def causal(*given: Any, **options: Any) -> Any:
        batch = right(*given, **options)
        return batch | {"attention_mask": torch.ones(batch["attention_mask"].shape, dtype=torch.bool).tril()}

    monkeypatch.setattr(sft, "collate", causal)
    with pytest.raises(StageError, match=r"differ from|not at their places"):
        run_sft(recipe)


def test_lessons_without_packing_are_rejected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = prepared(monkeypatch, tmp_path, "data.lessons.bare=10")
    with pytest.raises(StageError, match=r"Lessons .* in order.\n.*train\.pack"):
        run_sft(recipe)


def test_the_head_computes_learned_tokens_only_with_the_same_loss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe = prepared(monkeypatch, tmp_path)
    fast = run_sft(recipe)[0].results
    monkeypatch.setattr(sft, "score_learned_tokens_only", lambda: None)
    monkeypatch.setattr("trl.trainer.utils._use_triton", lambda _device: False)
    slow = run_sft(recipe, force=True)[0].results
    assert fast["validation_loss"] == pytest.approx(slow["validation_loss"], abs=2e-4)


def test_qlora_learns_on_four_bits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = prepared(monkeypatch, tmp_path, "train.load_in_4bit=true", "data.rows=80", "train.epochs=2")
    results = run_sft(recipe)[0].results
    assert results["validation_loss"] < results["validation_loss_before"] / 2


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_says_what_to_change(error: RuntimeError) -> None:
    with pytest.raises(StageError, match=r"out of memory") as caught, out_of_memory_advice():
        raise error
    assert "train.batch_size=1 and train.gradient_accumulation=2" in caught.value.todo


def test_other_errors_pass_through_unchanged() -> None:
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory_advice():
        raise RuntimeError("shapes differ")


def test_new_tokens_that_are_not_trained_are_rejected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama(BOS + 154))
    write_tokenizer(NANO, source)
    recipe = prepared(monkeypatch, tmp_path, f"base.path={source}", "base.chat_format=chatml")
    with pytest.raises(StageError, match=r"<\|im_start\|> and <\|im_end\|> are new to this base.*\n.*new_tokens"):
        run_sft(recipe)


def test_a_full_vocabulary_takes_no_new_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama(BOS + 14))
    write_tokenizer(NANO, source)
    with pytest.raises(ArtefactError, match=r"vocabulary of 125044 is full: there is no row"):
        prepared(monkeypatch, tmp_path, f"base.path={source}", "base.chat_format=chatml")


def test_an_adapter_without_gradients_is_rejected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = prepared(monkeypatch, tmp_path, "train.learning_rate=1e-45")
    with pytest.raises(StageError, match="learned nothing"):
        run_sft(recipe)
    assert not (recipe.folder / "adapter").exists()
