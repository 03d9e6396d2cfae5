"""Drafts: how a text that ends so usually goes on, looked up in messages like those that the model was taught.

In: token ids of messages, by a checkpoint's own tokenizer. Out: drafts.json in the checkpoint, and drafts from it. The
server lets the model check a whole draft in one pass. The model's own distribution still decides every token, so a
wrong draft costs time and never a word (docs/drafting.md). The idea is published as REST (retrieval-based speculative
decoding).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from core.errors import ArtefactError
from pipeline.files import write_text

DRAFTS_FILE = "drafts.json"
VERSION = 1
CONTEXT = 6  # tokens, the most that are looked up
MOST_TOKENS = 100_000  # of a table: read in about a second
REMEMBERED = 50_000  # drafts


def write_drafts(folder: Path, texts: list[list[int]]) -> int:
    """Write a checkpoint's messages, each with the tokens before it; return how many its table holds."""
    kept, tokens = [], 0
    for text in texts:
        if tokens + len(text) > MOST_TOKENS:
            break
        kept.append(text)
        tokens += len(text)
    write_text(folder / DRAFTS_FILE, json.dumps({"version": VERSION, "texts": kept}, separators=(",", ":")) + "\n")
    return len(kept)


def read_drafts(folder: Path, most: int, threshold: float) -> "Drafts":
    """Read a checkpoint's table; `most` and `threshold` as for `Drafts`.

    Raises:
        ArtefactError: it has none that this version can read.
    """
    try:
        record = json.loads((folder / DRAFTS_FILE).read_text(encoding="utf-8"))
        if record["version"] != VERSION:
            raise ValueError(f"version {record['version']}")
        return Drafts(record["texts"], most, threshold)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"{folder / DRAFTS_FILE} is no table of drafts of version {VERSION}: {error}.",
            "Make the checkpoint again: `make merge`; or serve it with serve.drafting: false.",
        ) from error


class Drafts:
    """The table: after each run of up to CONTEXT tokens the commonest next one, with its share.

    Args:
        texts: token ids of messages, each with some tokens before it.
        most: tokens that a draft has at most.
        threshold: the least that the shares of a draft's tokens may come to, multiplied.
    """

    def __init__(self, texts: list[list[int]], most: int, threshold: float) -> None:
        self._most, self._threshold = most, threshold
        self._next = _commonest(texts)
        self._look_up = lru_cache(REMEMBERED)(self._follow)

    def after(self, ids: Sequence[int]) -> list[int]:
        """Return a draft of what follows these tokens; empty: nobody knows."""
        return list(self._look_up(tuple(ids[-CONTEXT:])))

    def _follow(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        context, share = list(ids), 1.0
        while len(context) < len(ids) + self._most and (found := self._after_longest(context)):
            share *= found[1]
            if share < self._threshold:
                break
            context.append(found[0])
        return tuple(context[len(ids) :])

    def _after_longest(self, context: list[int]) -> tuple[int, float] | None:
        for length in range(min(CONTEXT, len(context)), 0, -1):
            if found := self._next.get(tuple(context[-length:])):
                return found
        return None


def _commonest(texts: list[list[int]]) -> dict[tuple[int, ...], tuple[int, float]]:
    counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for text in texts:
        for place in range(1, len(text)):
            for length in range(1, min(CONTEXT, place) + 1):
                counts[tuple(text[place - length : place])][text[place]] += 1
    return {
        context: (token, count / following.total())
        for context, following in counts.items()
        for token, count in following.most_common(1)
    }
