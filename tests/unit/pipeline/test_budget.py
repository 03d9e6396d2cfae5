"""Token budgets: read from the checkpoint, with their margins; what a model cannot read is refused."""

import json
from pathlib import Path

import pytest

from core.errors import ArtefactError
from pipeline.budget import Budget, cache_bytes, context_length, read_budget, sampling_defaults
from pipeline.recipe import GenerationSection

SHAPE = {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "prompt.json").write_text(json.dumps({"longest_prompt": 401, "longest_message": 91}))
    (tmp_path / "config.json").write_text(json.dumps(SHAPE | {"max_position_embeddings": 8192}))
    return tmp_path


def test_budgets_are_half_as_much_again_in_whole_steps(checkpoint: Path) -> None:
    budget = read_budget(checkpoint)
    assert budget == Budget(401, 91)
    assert budget.message == 144, "136.5, in eights"
    assert budget.context == 768, "601.5 and 144, in 128s"
    assert context_length(checkpoint, budget) == 768
    assert context_length(checkpoint, budget, wanted=600) == 600
    assert context_length(checkpoint, Budget(89, 31)) == 512, "no less, for callers with prompts of their own"


def test_a_context_stays_within_the_models_reach_and_a_shorter_reach_is_refused(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text(json.dumps(SHAPE | {"max_position_embeddings": 512}))
    assert context_length(checkpoint, Budget(401, 91)) == 512
    with pytest.raises(ArtefactError, match=r"up to 513 tokens.*reads 512"):
        context_length(checkpoint, Budget(422, 91))
    with pytest.raises(ArtefactError, match="reads 300") as caught:
        context_length(checkpoint, Budget(401, 91), wanted=300)
    assert "serve.max_model_len to 492" in caught.value.todo


def test_the_cache_holds_every_sequence_twice(checkpoint: Path) -> None:
    # 30 layers, keys and values, 3 heads of 64, two bytes each: 23,040 a token
    assert cache_bytes(checkpoint, 768, 8) == 2 * 8 * 768 * 23_040


def test_the_recipe_may_set_an_answers_length() -> None:
    assert sampling_defaults(GenerationSection(), 144)["max_new_tokens"] == 144
    assert sampling_defaults(GenerationSection(max_new_tokens=50), 144)["max_new_tokens"] == 50


@pytest.mark.parametrize("record", ["{}", "", '{"longest_prompt": 3}'])
def test_a_checkpoint_without_a_budget_says_how_to_make_it_again(record: str, checkpoint: Path) -> None:
    (checkpoint / "prompt.json").write_text(record)
    with pytest.raises(ArtefactError, match="does not say how long"):
        read_budget(checkpoint)
