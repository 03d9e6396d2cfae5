"""The import of a base: exact, streaming, and strict about unknown keys and tensors."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from core.errors import ArtefactError, SignboardError
from tests.support.tiny import kormo_reference, tiny_llama, write_kormo
from training.families import FAMILIES, imported_name, to_kormo
from training.import_base import import_checkpoint, source_files
from training.nano.export import make_base


def imported(source: Path, target: Path) -> Path:
    target.mkdir()
    import_checkpoint(source, target)
    return target


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("shards", [1, 3])
def test_logits_are_identical_to_a_kormo_named_reference(tmp_path: Path, shards: int) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama(), shards=shards)
    model = AutoModelForCausalLM.from_pretrained(imported(source, tmp_path / "llama"), dtype=torch.float32).eval()
    ids = torch.randint(0, 128, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert (model(ids).logits - kormo_reference(source)(ids).logits).abs().max() == 0.0


def test_swapped_norms_are_detected(tmp_path: Path) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama())
    reference = kormo_reference(source)
    ids = torch.arange(20).unsqueeze(0)
    with torch.inference_mode():
        right = reference(ids).logits
        for layer in reference.model.layers:
            first, second = layer.pre_attention_layernorm, layer.pre_mlp_layernorm
            layer.pre_attention_layernorm, layer.pre_mlp_layernorm = second, first
        assert (reference(ids).logits - right).abs().max() > 0.01


def test_a_llama_checkpoint_passes_through_unchanged(tmp_path: Path) -> None:
    first = imported(write_kormo(tmp_path / "kormo", tiny_llama()), tmp_path / "first")
    second = imported(first, tmp_path / "second")
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert json.loads((first / "config.json").read_text()) == json.loads((second / "config.json").read_text())


def test_names_map_both_ways() -> None:
    for name in tiny_llama().state_dict():
        assert imported_name(to_kormo(name), FAMILIES["kormo"]) == name
    assert to_kormo("model.layers.0.input_layernorm.weight") == "model.layers.0.pre_attention_layernorm.weight"


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"sliding_window": 4096}, "sliding_window"), ({"model_type": "gpt2"}, "gpt2")],
)
def test_unknown_config_is_rejected_by_name(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama())
    edit_config(source, **changes)
    with pytest.raises(ArtefactError, match=named):
        imported(source, tmp_path / "llama")


def test_an_unknown_tensor_is_rejected_by_name(tmp_path: Path) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama())
    tensors = load_file(source / "model.safetensors")
    save_file(tensors | {"model.layers.0.self_attn.q_norm.weight": torch.ones(4)}, source / "model.safetensors")
    with pytest.raises(ArtefactError, match="q_norm"):
        imported(source, tmp_path / "llama")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama(), shards=3)
    (source / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ArtefactError, match="model-00002-of-00003"):
        imported(source, tmp_path / "llama")


@pytest.mark.parametrize("kept", [0, 5, 500, -1])
def test_a_cut_file_is_rejected(tmp_path: Path, kept: int) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama())
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtefactError, match="not a complete safetensors file"):
        imported(source, tmp_path / "llama")


def test_a_missing_checkpoint_points_to_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"base\.path"):
        list(source_files(tmp_path / "nowhere"))
    with pytest.raises(ArtefactError, match=r"base\.path"):
        imported(tmp_path / "nowhere", tmp_path / "llama")


def test_an_index_that_points_outside_is_rejected(tmp_path: Path) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama(), shards=2)
    index = source / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001-of", "../model-00001-of"))
    with pytest.raises(ArtefactError, match="outside its folder"):
        imported(source, tmp_path / "llama")


def test_base_training_replaces_no_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(SignboardError, match="holds no model"):
        make_base(tmp_path, 1, {})
    assert (tmp_path / "mine").read_text() == "precious"


HARMLESS = {
    "_name_or_path": "models/base",
    "_attn_implementation_autoset": True,
    "unsloth_version": "2026.10.9",
    "_model_name_or_path": "models/base",
    "unk_token_id": 0,
    "sliding_window": None,
}


def test_config_keys_that_change_nothing_are_dropped_and_recorded(tmp_path: Path) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama())
    plain = imported(source, tmp_path / "plain")
    edit_config(source, **HARMLESS)
    target = tmp_path / "llama"
    target.mkdir()
    assert import_checkpoint(source, target)["dropped_keys"] == sorted(HARMLESS)
    assert (target / "config.json").read_bytes() == (plain / "config.json").read_bytes()


def test_an_unknown_key_says_what_its_user_can_do(tmp_path: Path) -> None:
    source = write_kormo(tmp_path / "kormo", tiny_llama())
    edit_config(source, rope_theta_scale=2)
    with pytest.raises(ArtefactError, match=r"rope_theta_scale.*\n.*config\.json"):
        imported(source, tmp_path / "llama")
