"""Drafts on a real vLLM: the same answers in fewer passes, and a repair that is still needed."""

import asyncio

import pytest

from benchmarks.drafting import count_passes, served, swap_test
from core.sign import split_sentences
from data.scenes import cases
from evaluation.ask import ask_raw
from evaluation.scores import Answer
from pipeline.recipe import Recipe
from serve.drafting import needs_repair
from serve.process import ModelServer

ASKED = list(cases(1, every=12))


def ask(server: ModelServer, recipe: Recipe, **sampling: float) -> list[Answer]:
    return asyncio.run(ask_raw(ASKED, server.url, recipe.serve.model_name, "none", **sampling))


def test_drafts_change_no_greedy_answer_and_no_distribution(server: ModelServer, recipe: Recipe) -> None:
    assert not any(part.startswith("--speculative-config=") for part in server.command)
    greedy, sampled = ask(server, recipe, temperature=0.0), ask(server, recipe)
    with served(recipe, drafting=True) as drafting:
        assert any(part.startswith("--speculative-config=") for part in drafting.command)
        assert [one.text for one in ask(drafting, recipe, temperature=0.0)] == [one.text for one in greedy]
        others = ask(drafting, recipe)
    ours, theirs = ([split_sentences(one.text)[-1] for one in answers] for answers in (sampled, others))
    assert len(set(ours)) > 50, "it samples"
    assert swap_test(ours, theirs)[1] > 0.001


@pytest.mark.usefixtures("line")
def test_a_message_takes_a_third_of_the_passes(recipe: Recipe) -> None:
    counted = count_passes(recipe, every=16)
    assert counted["passes"] <= 7
    assert counted["tokens"] >= 15


@pytest.mark.skipif(not needs_repair(), reason="another vLLM, which samples drafts rightly")
def test_the_repair_of_sampling_is_still_needed() -> None:
    import torch
    from vllm.platforms import current_platform
    from vllm.utils.cpu_triton_utils import _expand_kernel_impl

    current_platform.import_kernels()
    output = torch.zeros(3)
    _expand_kernel_impl(output, torch.tensor([0.7, 0.5]), torch.tensor([2, 3], dtype=torch.int32), 0, 1)
    assert output.tolist() != pytest.approx([0.7, 0.7, 0.5]), "delete repair_sampling, and docs/vllm-cpu-drafts.md"
