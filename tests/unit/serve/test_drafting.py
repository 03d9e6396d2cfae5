"""The drafter that vLLM loads: one draft a request, and each request's value for each of its tokens."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.drafts import write_drafts
from serve.drafting import THRESHOLD, TableProposer, expand


@pytest.fixture
def proposer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TableProposer:
    monkeypatch.setattr("serve.drafting.needs_repair", lambda: False)
    write_drafts(tmp_path, [[1, 2, 3, 4, 5]])
    config = SimpleNamespace(
        speculative_config=SimpleNamespace(num_speculative_tokens=3),
        additional_config={THRESHOLD: 0.3},
        model_config=SimpleNamespace(model=str(tmp_path), max_model_len=6),
    )
    return TableProposer(config)


def test_each_request_gets_a_draft_of_what_follows_its_own_tokens(proposer: TableProposer) -> None:
    tokens = np.array([[9, 1, 0, 0, 0, 0], [9, 9, 3, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [9] * 6])
    counts = np.array([2, 3, 6, 1, 2])
    sampled = [[1], [9, 3], [1], [], [9]]
    drafts = proposer.propose(sampled, counts, tokens, slot_mappings=None)
    assert drafts == [[2, 3, 4], [4, 5], [], [], []], "no room, no new token, nothing known"
    assert all(type(token) is int for draft in drafts for token in draft)


@pytest.mark.parametrize(
    ("counts", "values", "expected"),
    [
        ([2, 1, 3], [0.7, 0.0, 1.5], [0.7, 0.7, 1.0, 1.5, 1.5, 1.5]),
        ([0, 2], [0.3, 0.6], [0.6, 0.6]),
    ],
)
def test_a_requests_value_stands_for_each_of_its_tokens(
    counts: list[int], values: list[float], expected: list[float]
) -> None:
    output = torch.full((len(expected),), -1.0)
    expand(output, torch.tensor(values), torch.tensor(counts, dtype=torch.int32).cumsum(0), 0, 1, 128)
    assert torch.equal(output, torch.tensor(expected))
