"""Folding: the same weights as PEFT's own merge, and refusal of what it cannot express."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from data.errors import ArtefactError
from merge.adapter import read_adapter
from merge.fold import fold
from tests.tiny import tiny_llama, write_kormo
from training.kormo import import_checkpoint


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    import_checkpoint(write_kormo(tmp_path / "kormo", tiny_llama(), shards=2), folder)
    return folder


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    """Write a LoRA whose B is not zero, as after training."""
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def edit(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_fold_equals_pefts_merge_rounded_once(tmp_path: Path, base: Path, adapter: Path) -> None:
    target = tmp_path / "merged"
    target.mkdir()
    assert fold(base, read_adapter(adapter), target) == {"folded_weights": 6, "shards": 2}
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter))
    expected = model.merge_and_unload().state_dict()
    folded: dict[str, torch.Tensor] = {}
    for path in target.glob("*.safetensors"):
        folded |= load_file(path)
    assert set(folded) == set(expected)
    assert all(torch.equal(folded[name], expected[name].to(torch.bfloat16)) for name in folded)
    before = load_file(base / "model-00001-of-00002.safetensors") | load_file(base / "model-00002-of-00002.safetensors")
    changed = {name for name in folded if not torch.equal(folded[name], before[name])}
    assert changed == set(read_adapter(adapter).factors)


def test_other_files_of_the_base_come_along(tmp_path: Path, base: Path, adapter: Path) -> None:
    target = tmp_path / "merged"
    target.mkdir()
    fold(base, read_adapter(adapter), target)
    assert {path.name for path in target.iterdir()} == {path.name for path in base.iterdir()}
    assert (target / "config.json").read_bytes() == (base / "config.json").read_bytes()


@pytest.mark.parametrize(
    "changes", [{"use_dora": True}, {"use_rslora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}]
)
def test_what_a_fold_cannot_express_is_refused(adapter: Path, changes: dict[str, object]) -> None:
    edit(adapter, **changes)
    with pytest.raises(ArtefactError, match=next(iter(changes))):
        read_adapter(adapter)


def test_another_base_is_refused(tmp_path: Path, adapter: Path) -> None:
    small = tiny_llama()
    del small.model.layers[2]
    small.config.num_hidden_layers = 2
    other = tmp_path / "other"
    other.mkdir()
    import_checkpoint(write_kormo(tmp_path / "small", small), other)
    target = tmp_path / "merged"
    target.mkdir()
    with pytest.raises(ArtefactError, match=r"layers\.2"):
        fold(other, read_adapter(adapter), target)


def test_a_missing_adapter_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="make train"):
        read_adapter(tmp_path)
