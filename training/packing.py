"""Packing: several rows in one sequence, the beginning that their prompts share computed once.

In: rows as token ids, neighbours with like prompts. Out: sequences, and the collator that turns them into a batch. A
token sees its own row and nothing else, at the position that it has there, so the loss is that of the rows alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from training.tokenization import TokenRow

IGNORED = -100  # label of a token that is not learned
STEP = 64  # tokens; batches are padded to whole steps: a CPU keeps memory and a program for each new length
HIDDEN = torch.finfo(torch.bfloat16).min  # added to the score of a token that a row must not see


@dataclass
class Sequence:
    """Rows in one sequence; each branches off from the row before it."""

    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    branches: list[list[int]] = field(default_factory=list)  # of each row: tokens shared with the row before, length

    def add(self, row: TokenRow, shared: int) -> None:
        """Append a row that begins with the first `shared` tokens of the row before."""
        ids, prompt = row
        self.input_ids += ids[shared:]
        self.labels += [IGNORED] * (prompt - shared) + ids[prompt:]
        self.branches.append([shared, len(ids)])


def pack(rows: Iterable[TokenRow], size: int) -> Iterator[Sequence]:
    """Yield the rows in their order, in sequences of at most `size` tokens; a longer row has one of its own."""
    sequence, before = Sequence(), None
    for row in rows:
        shared = shared_tokens(before, row) if before else 0
        if before and len(sequence.input_ids) + len(row[0]) - shared > size:
            yield sequence
            sequence, shared = Sequence(), 0
        sequence.add(row, shared)
        before = row
    if before:
        yield sequence


def shared_tokens(one: TokenRow, other: TokenRow) -> int:
    """Return how many tokens two rows can share.

    The last token of a prompt is left out: it predicts the first learned token, which follows only its own copy.
    """
    most = min(one[1], other[1]) - 1
    return next((place for place in range(most) if one[0][place] != other[0][place]), most)


def collate(sequences: list[dict[str, Any]], pad: int, *, additive: bool = False) -> dict[str, torch.Tensor]:
    """Return a batch: ids, positions and labels (batch, length), visible tokens (batch, 1, length, length).

    `additive`: the mask as what is added to the scores, which transformers' eager attention wants: 0 for visible.
    """
    longest = max(len(sequence["input_ids"]) for sequence in sequences)
    length = -(-longest // STEP) * STEP
    shape = (len(sequences), length)
    ids, labels = torch.full(shape, pad), torch.full(shape, IGNORED)
    positions = torch.zeros(shape, dtype=torch.long)
    visible = torch.eye(length, dtype=torch.bool).repeat(
        len(sequences), 1, 1
    )  # padding sees itself: never an empty row
    for number, sequence in enumerate(sequences):
        used = len(sequence["input_ids"])
        ids[number, :used] = torch.tensor(sequence["input_ids"])
        labels[number, :used] = torch.tensor(sequence["labels"])
        for shared, places in places_of_rows(sequence["branches"]):
            at = torch.tensor(places)
            positions[number, at] = torch.arange(len(places))
            visible[number, at[shared:, None], at[None]] = torch.ones(len(places), len(places)).bool().tril()[shared:]
    mask = visible[:, None]
    if additive:
        mask = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill(~mask, HIDDEN)
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "attention_mask": mask}


def places_of_rows(branches: list[list[int]]) -> Iterator[tuple[int, list[int]]]:
    """Yield for each row how many tokens it shares with the row before, and where each of its tokens stands."""
    places: list[int] = []
    end = 0
    for shared, length in branches:
        places = [*places[:shared], *range(end, end + length - shared)]
        end += length - shared
        yield shared, places
