"""Packing: a row in a sequence reads, sees and learns what it does alone."""

import random
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from pipeline.recipe import DataSection, LessonsSection, LoraSection, QuantizeSection, Recipe, TrainSection
from tests.support.tiny import tiny_llama
from training.packing import IGNORED, STEP, Sequence, collate, pack, shared_tokens
from training.sft import datasets, lesson_sequences, rounding, rows_of_batch
from training.tokenization import TokenRow

PAD = 0
SIZE = 60


def some_rows(count: int = 30) -> list[TokenRow]:
    """Return rows whose prompts begin alike in several ways, also with one another's whole prompt."""
    rng = random.Random(1)
    beginnings = [[rng.randrange(1, 150) for _ in range(length)] for length in (1, 6, 12)]
    rows = []
    for _ in range(count):
        prompt = rng.choice(beginnings) + [rng.randrange(1, 5) for _ in range(rng.randrange(3))]
        rows.append((prompt + [rng.randrange(1, 150) for _ in range(rng.randrange(1, 9))], len(prompt)))
    return [*rows, rows[-1]]


def batch_of(sequences: list[Sequence], *, additive: bool = False) -> dict[str, torch.Tensor]:
    return collate([asdict(sequence) for sequence in sequences], PAD, additive=additive)


def gradients(model: Any) -> list[torch.Tensor]:
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return found


def loss_of(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    labels = batch["labels"]
    logits = model(**{key: value for key, value in batch.items() if key != "labels"}).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


@pytest.mark.parametrize(("attention", "additive"), [("sdpa", False), ("eager", True)])
def test_packed_rows_have_the_loss_and_the_gradients_of_the_rows_alone(attention: str, additive: bool) -> None:
    model, rows = tiny_llama(150).float(), some_rows()
    alone = sum(
        loss_of(
            model,
            {"input_ids": torch.tensor([ids]), "labels": torch.tensor([[IGNORED] * prompt + ids[prompt:]])},
        )
        for ids, prompt in rows
    )
    assert isinstance(alone, torch.Tensor)
    alone.backward()
    wanted = gradients(model)
    sequences = list(pack(rows, SIZE))
    assert len(sequences) > 2
    model.set_attn_implementation(attention)
    packed = loss_of(model, batch_of(sequences, additive=additive))  # with padding
    packed.backward()
    assert packed.item() == pytest.approx(alone.item(), rel=1e-5)
    for one, other in zip(gradients(model), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_packing_keeps_every_row_in_order_within_the_size() -> None:
    rows = some_rows()
    sequences = list(pack(rows, SIZE))
    found = [row for sequence in sequences for row in rows_of_batch(batch_of([sequence]))]
    assert found == [(ids, ids[prompt:]) for ids, prompt in rows]
    assert max(len(sequence.input_ids) for sequence in sequences) <= SIZE
    assert sum(len(sequence.input_ids) for sequence in sequences) < 0.9 * sum(len(ids) for ids, _ in rows)


@pytest.mark.parametrize("length", [1, STEP, STEP + 1])
def test_a_batch_is_padded_to_whole_steps_that_no_row_sees(length: int) -> None:
    (sequence,) = pack([([*range(1, length), 5], length - 1)], SIZE)
    batch = batch_of([sequence])
    assert batch["input_ids"].shape[1] == (STEP if length <= STEP else 2 * STEP)
    assert (batch["labels"][0, length:] == IGNORED).all()
    assert not batch["attention_mask"][0, 0, :length, length:].any()


def test_a_row_longer_than_a_sequence_has_one_of_its_own() -> None:
    long = ([*range(1, 100)], 50)
    assert [len(sequence.branches) for sequence in pack([long, long, ([1, 2], 1)], 64)] == [1, 1, 1]


def test_the_last_token_of_a_prompt_is_never_shared() -> None:
    prompt = [7, 8, 9]
    assert shared_tokens(([*prompt, 1], 3), ([*prompt, 1], 3)) == 2
    assert shared_tokens(([7, 8, 1], 2), ([7, 8, 9, 1], 3)) == 1
    assert shared_tokens(([1, 2], 1), ([1, 3], 1)) == 0


def test_numbers_come_first_then_parts_then_messages_and_these_two_are_rounded() -> None:
    data = DataSection(lessons=LessonsSection(bare=8, beginnings=8, parts=1))
    train = TrainSection(batch_size=1, pack=64, pack_bare=32, qat_group_size=32, lora=LoraSection(dropout=0))
    recipe = Recipe(name="a", data=data, train=train, quantize=QuantizeSection(group_size=32))
    lessons = [([1] * 10, 5)] * 8 + [([2] * 60, 20)] * 8 + [([3] * 60, 20)] * 8
    messages = [([4] * 60, 30)] * 24
    packed = lesson_sequences(recipe, lessons)
    tokens = {"train": messages, "validation": messages[:1]}
    kinds = [ids[0] for ids in datasets(recipe, {}, tokens, packed)["train"]["input_ids"]]
    assert kinds == sorted(kinds)
    assert set(kinds) == {1, 2, 3, 4}
    model = SimpleNamespace(named_modules=lambda: [("head", None)])  # no matrix to round: only the step counts
    (callback,) = rounding(recipe, lessons)
    seen = []
    for step in range(len(kinds)):
        callback.on_step_begin(None, SimpleNamespace(global_step=step), None, model=model)
        seen.append(callback.rounds)
    assert seen == [kind >= 3 for kind in kinds]
