"""The nano base's training batches: what is learned, and that answers which share a prompt do not see each other."""

import random
from itertools import islice
from typing import Any

import pytest
import torch

from core.prompt import Message
from training.nano.corpus import last_rambling_stream, park_stream
from training.nano.pretrain import Batch, encode, new_model
from training.nano.tokenizer import train_tokenizer
from training.packing import IGNORED

SHORT: list[Message] = [{"role": "user", "content": "차이는?"}, {"role": "assistant", "content": "같습니다."}]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(0)


def learned(model: Any, batch: Batch) -> tuple[torch.Tensor, list[int]]:
    """Return the logits of the learned tokens, and these tokens."""
    labels = batch["labels"][:, 1:]
    logits = model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits[:, :-1]
    return logits[labels != IGNORED], labels[labels != IGNORED].tolist()


@torch.inference_mode()
def test_answers_that_share_a_prompt_are_computed_as_if_each_were_alone(tokenizer: Any) -> None:
    model = new_model(tokenizer, 1).eval()
    talks = [*islice(park_stream(random.Random(5)), 3), *islice(last_rambling_stream(random.Random(6)), 2)]
    asked = [[message for message in talk if message["role"] != "assistant"] for talk in talks]
    (packed,) = encode(tokenizer, talks)
    logits, targets = learned(model, packed)
    pieces = {}
    for talk, prompt in zip(talks, asked, strict=True):
        for answer in talk[len(prompt) :]:
            ids = tokenizer.apply_chat_template([*prompt, answer], tokenize=True)["input_ids"]
            start = len(tokenizer.apply_chat_template(prompt, tokenize=True, add_generation_prompt=True)["input_ids"])
            alone = model(input_ids=torch.tensor([ids])).logits[0, start - 1 : -1]
            pieces[tuple(ids[start:])] = alone
    at = 0
    while at < len(targets):
        ids = next(ids for ids in pieces if tuple(targets[at : at + len(ids)]) == ids)
        torch.testing.assert_close(logits[at : at + len(ids)], pieces[ids], rtol=1e-4, atol=1e-4)
        at += len(ids)
    assert sum(map(len, pieces)) == len(targets), "every token of every answer is learned, once"


def test_conversations_of_like_length_are_grouped(tokenizer: Any) -> None:
    talks = list(islice(park_stream(random.Random(7)), 32))
    batches = encode(tokenizer, [*talks, SHORT])
    assert [len(batch["input_ids"]) for batch in batches] == [16, 16, 1]
    lengths = [batch["input_ids"].shape[1] for batch in batches]
    assert lengths == sorted(lengths)
