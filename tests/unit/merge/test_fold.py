"""Folding: the same weights as PEFT's own merge, and rejection of adapters that a fold cannot express."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from core.errors import ArtefactError
from merge.adapter import read_adapter
from merge.fold import fold_checkpoint
from merge.layerwise import Streamed
from merge.stages import choose_fold
from merge.weights import Checkpoint, nf4_round_trip
from pipeline.recipe import Recipe, TrainSection
from tests.support.tiny import tiny_llama, write_kormo
from training.import_base import import_checkpoint
from training.qat import is_quantized, round_to_nearest
from training.trainer import load_base


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


@pytest.fixture
def token_adapter(tmp_path: Path, base: Path) -> Path:
    """Write a LoRA that also trains rows of the embedding and the head."""
    torch.manual_seed(4)
    rows = {"embed_tokens": [3, 9], "lm_head": [3, 9]}
    config = LoraConfig(
        r=4, lora_alpha=6, target_modules=["v_proj"], trainable_token_indices=rows, task_type="CAUSAL_LM"
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "trainable_tokens_delta" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "token-adapter")
    return tmp_path / "token-adapter"


def folded_tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        found |= load_file(path)
    return found


def edit(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_fold_equals_pefts_merge_rounded_once(tmp_path: Path, base: Path, adapter: Path) -> None:
    target = tmp_path / "merged"
    target.mkdir()
    assert fold_checkpoint(base, read_adapter(adapter, base), target) == {"folded_weights": 6, "shards": 2}
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter))
    expected = model.merge_and_unload().state_dict()
    folded = folded_tensors(target)
    assert set(folded) == set(expected)
    assert all(torch.equal(folded[name], expected[name].to(torch.bfloat16)) for name in folded)
    before = load_file(base / "model-00001-of-00002.safetensors") | load_file(base / "model-00002-of-00002.safetensors")
    changed = {name for name in folded if not torch.equal(folded[name], before[name])}
    assert changed == set(read_adapter(adapter, base).factors)


def test_trained_rows_of_new_tokens_are_folded_as_peft_merges_them(
    tmp_path: Path, base: Path, token_adapter: Path
) -> None:
    target = tmp_path / "merged"
    target.mkdir()
    fold_checkpoint(base, read_adapter(token_adapter, base), target)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    expected = PeftModel.from_pretrained(plain, str(token_adapter)).merge_and_unload().state_dict()
    folded = folded_tensors(target)
    assert set(folded) == set(expected)
    assert all(torch.equal(folded[name], expected[name].to(torch.bfloat16)) for name in folded)
    changed = {name for name, tensor in folded.items() if not torch.equal(tensor, Checkpoint(base)(name))}
    assert {"model.embed_tokens.weight", "lm_head.weight"} < changed


def test_the_nf4_round_trip_is_what_qlora_trains_on(base: Path) -> None:
    recipe = Recipe(name="tiny", train=TrainSection(load_in_4bit=True))
    model = load_base(base, recipe)
    layers = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    assert len(layers) == 3 * 7
    for name, layer in layers.items():
        assert is_quantized(name)
        seen = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        assert torch.equal(nf4_round_trip(Checkpoint(base)(name)), seen)


def test_an_nf4_fold_rounds_every_linear_weight_and_nothing_else(tmp_path: Path, base: Path, adapter: Path) -> None:
    target = tmp_path / "merged"
    target.mkdir()
    change, plain = read_adapter(adapter, base), Checkpoint(base)
    fold_checkpoint(base, change, target, nf4=True)
    for name, tensor in folded_tensors(target).items():
        before = nf4_round_trip(plain(name)) if is_quantized(name) else plain(name)
        if name in change.factors:
            a, b = change.factors[name]
            before = before + (b @ a) * 1.5  # alpha 6 / rank 4
        assert torch.equal(tensor, before.to(torch.bfloat16))


def test_a_qat_fold_is_what_quantization_aware_training_computed(tmp_path: Path, base: Path) -> None:
    torch.manual_seed(3)
    targets = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
    config = LoraConfig(r=4, lora_alpha=6, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    target = tmp_path / "merged"
    target.mkdir()
    change = read_adapter(tmp_path / "adapter", base)
    fold_checkpoint(base, change, target, qat_group=32)
    for name, tensor in folded_tensors(target).items():
        whole = change.apply(name, Checkpoint(base)(name), torch.float32)
        assert torch.equal(tensor, (round_to_nearest(whole, 32) if is_quantized(name) else whole).to(torch.bfloat16))
    rows = [(torch.randint(0, 128, (30,)).tolist(), 5)]
    before, folded = (
        Streamed(base, Checkpoint(base), tmp_path / "adapter", 32).logprobs(rows, "seen"),
        Streamed(target, Checkpoint(target)).logprobs(rows, "folded"),
    )
    plain = Streamed(base, Checkpoint(base), tmp_path / "adapter").logprobs(rows, "plain")
    assert (before[0] - folded[0]).abs().max() < 0.05 < (plain[0] - folded[0]).abs().max()


@pytest.mark.parametrize("kind", ["adapter", "token_adapter"])
def test_layerwise_logprobs_equal_the_whole_models(base: Path, kind: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    rows = [(torch.randint(0, 128, (length,)).tolist(), 5) for length in (9, 30)]
    rows[0][0][:3] = [3, 9, 3]
    found = Streamed(base, Checkpoint(base), folder).logprobs(rows, "tiny")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, str(folder)).eval()
    for (ids, prompt), row in zip(rows, found, strict=True):
        with torch.inference_mode():
            expected = model(torch.tensor([ids])).logits[0, prompt - 1 : -1].log_softmax(-1)
        assert torch.allclose(row, expected, atol=1e-5)
    bare = Streamed(base, Checkpoint(base)).logprobs(rows, "tiny")
    assert (bare[0] - found[0]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("wanted", "nf4", "expected"),
    [("16bit", 0.1, "16bit"), ("nf4", 0.3, "nf4"), ("better", 0.1, "nf4"), ("better", 0.3, "16bit")],
)
def test_the_better_fold_is_kept(wanted: Any, nf4: float, expected: str) -> None:
    assert choose_fold(wanted, {"loss_fold_16bit": 0.2, "loss_fold_nf4": nf4}) == expected


def test_without_qlora_the_better_fold_is_16bit() -> None:
    assert choose_fold("better", {}) == "16bit"


def test_other_files_of_the_base_are_copied(tmp_path: Path, base: Path, adapter: Path) -> None:
    target = tmp_path / "merged"
    target.mkdir()
    fold_checkpoint(base, read_adapter(adapter, base), target)
    assert {path.name for path in target.iterdir()} == {path.name for path in base.iterdir()}
    assert (target / "config.json").read_bytes() == (base / "config.json").read_bytes()


# PEFT's settings with which W + (alpha/r)·B·A is not what it computes, each with a value that a training might leave.
NOT_PLAIN: dict[str, object] = {
    "alora_invocation_tokens": [5, 6],
    "alpha_pattern": {"down_proj": 12},
    "bias": "all",
    "fan_in_fan_out": True,
    "layer_replication": [[0, 2], [1, 3]],
    "lora_bias": True,
    "modules_to_save": ["lm_head"],
    "rank_pattern": {"down_proj": 2},
    "target_parameters": ["experts.gate_up_proj"],
    "use_dora": True,
    "use_qalora": True,
    "use_rslora": True,
}


@pytest.mark.parametrize("setting", NOT_PLAIN)
def test_adapter_features_that_a_fold_cannot_express_are_rejected(adapter: Path, base: Path, setting: str) -> None:
    assert setting in json.loads((adapter / "adapter_config.json").read_text()), "PEFT knows it"
    edit(adapter, **{setting: NOT_PLAIN[setting]})
    with pytest.raises(ArtefactError, match=setting):
        read_adapter(adapter, base)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("a_setting_of_tomorrow", True),
        ("layers_to_transform", [0]),
        ("init_lora_weights", "pissa"),
        ("peft_type", "IA3"),
    ],
)
def test_settings_that_the_fold_does_not_know_are_rejected(
    adapter: Path, base: Path, setting: str, value: object
) -> None:
    edit(adapter, **{setting: value})
    with pytest.raises(ArtefactError, match=setting):
        read_adapter(adapter, base)


def altered(adapter: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of an adapter's file."""
    tensors = load_file(adapter / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, adapter / "adapter_model.safetensors")


def _drop(part: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: [tensors.pop(key) for key in list(tensors) if part in key]


def _fill(part: str, value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: [tensor.view(-1)[:1].fill_(value) for key, tensor in tensors.items() if part in key]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.clear(), "covers 0 of 6"),
        (_drop("lora_A"), "half of a factor pair"),
        (_drop("layers.2"), r"covers 4 of 6.*layers\.2"),
        (_drop("down_proj"), r"covers 3 of 6.*down_proj"),
        (_fill("layers.1.self_attn.q_proj.lora_B", math.nan), r"layers\.1.*not finite"),
        (_fill("layers.0.mlp.down_proj.lora_A", math.inf), r"layers\.0.*not finite"),
    ],
    ids=["nothing", "one factor", "a layer missing", "a module missing", "NaN", "infinity"],
)
def test_an_adapter_that_is_not_whole_is_rejected(
    adapter: Path, base: Path, change: Callable[[dict[str, torch.Tensor]], object], reason: str
) -> None:
    altered(adapter, change)
    with pytest.raises(ArtefactError, match=reason):
        read_adapter(adapter, base)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target_modules": ["q_proj"]}, "down_proj.*does not name"),
        ({"target_modules": ["q_proj", "down_proj", "k_proj"]}, "covers 6 of 9"),
        ({"target_modules": ["experts"]}, "does not name"),
        ({"r": 8}, "rank 8"),
        ({"r": 0}, "no rank"),
        ({"lora_alpha": None}, "no alpha"),
        ({"trainable_token_indices": {"embed_tokens": [3]}}, "covers 0 of 1"),
    ],
    ids=str,
)
def test_an_adapter_that_its_config_does_not_describe_is_rejected(
    adapter: Path, base: Path, changes: dict[str, object], reason: str
) -> None:
    edit(adapter, **changes)
    with pytest.raises(ArtefactError, match=reason):
        read_adapter(adapter, base)


def test_target_modules_may_be_a_regular_expression_as_in_peft(adapter: Path, base: Path) -> None:
    before = read_adapter(adapter, base).names
    edit(adapter, target_modules=r".*\.(q_proj|down_proj)")
    assert read_adapter(adapter, base).names == before


def test_token_rows_must_be_as_many_as_their_tokens(token_adapter: Path, base: Path) -> None:
    edit(token_adapter, trainable_token_indices={"embed_tokens": [3], "lm_head": [3, 9]})
    with pytest.raises(ArtefactError, match=r"2 rows of .* for 1 tokens"):
        read_adapter(token_adapter, base)


def test_a_fold_that_overflows_publishes_nothing(tmp_path: Path, adapter: Path, base: Path) -> None:
    altered(adapter, _fill("lora_", 3e38))
    target = tmp_path / "merged"
    target.mkdir()
    with pytest.raises(ArtefactError, match="not finite"):
        fold_checkpoint(base, read_adapter(adapter, base), target)


def test_another_base_is_rejected(tmp_path: Path, adapter: Path) -> None:
    small = tiny_llama()
    del small.model.layers[2]
    small.config.num_hidden_layers = 2
    other = tmp_path / "other"
    other.mkdir()
    import_checkpoint(write_kormo(tmp_path / "small", small), other)
    target = tmp_path / "merged"
    target.mkdir()
    with pytest.raises(ArtefactError, match=r"layers\.2"):
        fold_checkpoint(other, read_adapter(adapter, other), target)


def test_a_missing_adapter_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="make train"):
        read_adapter(tmp_path, tmp_path)
