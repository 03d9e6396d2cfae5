"""Quantization-aware training: what the adapter learns on is what is served, and its gradient passes the rounding."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from core.errors import StageError
from tests.support.tiny import tiny_llama
from training.qat import RoundedFold, RoundFrom, is_quantized, round_to_nearest, see_rounding

GROUP = 32
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = torch.arange(12).reshape(1, 12)


def adapted(*targets: str) -> Any:
    """Return a tiny model with a LoRA whose B is not zero."""
    torch.manual_seed(3)
    model = get_peft_model(tiny_llama().float(), LoraConfig(r=4, lora_alpha=6, target_modules=list(targets)))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def test_a_fold_is_rounded_and_its_gradient_is_that_of_the_fold_alone() -> None:
    torch.manual_seed(0)
    base, a, b = torch.randn(6, 64), torch.randn(3, 64, requires_grad=True), torch.randn(6, 3, requires_grad=True)
    states = torch.randn(5, 64)
    rounded = RoundedFold.apply(base, a, b, 1.5, GROUP)
    torch.testing.assert_close(rounded, round_to_nearest(base + 1.5 * (b @ a), GROUP))
    wanted = torch.autograd.grad((states @ (base + 1.5 * (b @ a)).T).sum(), (a, b))
    torch.testing.assert_close(torch.autograd.grad((states @ rounded.T).sum(), (a, b)), wanted)


def test_the_model_computes_what_the_rounded_merge_computes() -> None:
    model, merged = adapted(*TARGETS), adapted(*TARGETS).merge_and_unload()
    for name, parameter in merged.named_parameters():
        if is_quantized(name):
            parameter.data = round_to_nearest(parameter.data, GROUP)
    with torch.no_grad():
        plain = model(IDS).logits
        see_rounding(model, GROUP)
        seen = model(IDS).logits
        torch.testing.assert_close(seen, merged(IDS).logits)
    assert (seen - plain).abs().max() > 1e-3


def test_a_preference_trainings_reference_is_rounded_too() -> None:
    model = adapted(*TARGETS)
    alone = adapted(*TARGETS)
    model.add_adapter("ref", model.peft_config["default"])  # its B is zero: the base, rounded
    see_rounding(model, GROUP)
    with torch.no_grad():
        for _, module in alone.named_modules():
            if hasattr(module, "lora_B"):
                module.lora_B["default"].weight.zero_()
        see_rounding(alone, GROUP)
        model.set_adapter("ref")
        torch.testing.assert_close(model(IDS).logits, alone(IDS).logits)
        model.set_adapter("default")
        assert not torch.equal(model(IDS).logits, alone(IDS).logits)


def test_a_matrix_that_training_cannot_round_is_rejected() -> None:
    with pytest.raises(StageError, match=r"k_proj is served in 4 bit.*\n.*target_modules"):
        see_rounding(adapted("q_proj"), GROUP)


def test_a_group_that_does_not_divide_a_matrix_is_rejected() -> None:
    with pytest.raises(StageError, match=r"input channels, which groups of 48 do not divide"):
        see_rounding(adapted(*TARGETS), 48)


def test_rounding_begins_at_its_step_and_after_a_resume_at_once() -> None:
    for steps, seen in (((0, 1, 2, 3), [False, False, True, True]), ((7,), [True])):
        model, callback = adapted(*TARGETS), RoundFrom(GROUP, 2)
        with torch.no_grad():
            plain = model(IDS).logits
            found = []
            for step in steps:
                callback.on_step_begin(None, SimpleNamespace(global_step=step), None, model=model)
                found.append(not torch.equal(model(IDS).logits, plain))
        assert found == seen
