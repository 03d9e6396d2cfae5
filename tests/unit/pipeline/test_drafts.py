"""Drafts: what follows most often, as long as it looks likely enough; a table that cannot be read is refused."""

import json
from pathlib import Path

import pytest

from core.errors import ArtefactError
from pipeline.drafts import CONTEXT, DRAFTS_FILE, MOST_TOKENS, Drafts, read_drafts, write_drafts

A, B, C, D, E, END = range(10, 16)
TEXTS = [[1, A, B, C, END], [1, A, B, C, END], [1, A, B, D, END], [1, E, B, D, END]]


@pytest.mark.parametrize(
    ("ids", "draft"),
    [
        ([1], [A, B]),  # 3/4, 1; then C has 2/3, together half
        ([1, A], [B, C, END]),  # 1, 2/3, 1
        ([1, E], [B, D, END]),
        ([7, 7, E, B], [D, END]),  # by the longest run that is known: after B alone C and D are even
        ([END], []),  # nothing follows an end
        ([99], []),
        ([], []),
    ],
)
def test_a_draft_follows_the_commonest_while_it_is_likely_enough(ids: list[int], draft: list[int]) -> None:
    assert Drafts(TEXTS, most=8, threshold=0.6).after(ids) == draft


def test_a_draft_has_no_more_tokens_than_allowed() -> None:
    assert Drafts([list(range(50))], most=3, threshold=0.5).after([4]) == [5, 6, 7]


def test_only_the_last_tokens_decide() -> None:
    drafts = Drafts([[1, 2, 3, 4, 5, 6, 7, 8], [9, 2, 3, 4, 5, 6, 7, 10], [9, 2, 3, 4, 5, 6, 7, 10]], 1, 0.5)
    assert CONTEXT == 6
    assert drafts.after([1, 2, 3, 4, 5, 6, 7]) == drafts.after([9, 2, 3, 4, 5, 6, 7]) == [10]


def test_a_table_is_written_and_read(tmp_path: Path) -> None:
    assert write_drafts(tmp_path, TEXTS) == 4
    assert read_drafts(tmp_path, most=8, threshold=0.6).after([1, A]) == [B, C, END]


def test_a_table_is_bounded(tmp_path: Path) -> None:
    assert write_drafts(tmp_path, [[1] * (MOST_TOKENS // 4)] * 5) == 4


@pytest.mark.parametrize("content", [None, "", "{}", '{"version": 99, "texts": []}', "[1]"])
def test_a_table_that_cannot_be_read_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / DRAFTS_FILE).write_text(content)
    with pytest.raises(ArtefactError, match=r"no table of drafts") as caught:
        read_drafts(tmp_path, most=8, threshold=0.5)
    assert "serve.drafting: false" in caught.value.todo


def test_the_file_is_what_the_manifest_can_cover(tmp_path: Path) -> None:
    write_drafts(tmp_path, TEXTS)
    first = (tmp_path / DRAFTS_FILE).read_bytes()
    write_drafts(tmp_path, TEXTS)
    assert (tmp_path / DRAFTS_FILE).read_bytes() == first
    assert json.loads(first)["texts"] == TEXTS
