"""A checkpoint's token budgets: measured with its own tokenizer at training, read by all that comes after.

In: prompt.json of an adapter or a checkpoint, config.json of a checkpoint. Out: tokens and bytes, margins included.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ArtefactError
from core.prompt import PROMPT_FILE
from pipeline.recipe import GenerationSection

MARGIN = 1.5  # over the longest message of the training rows, and over the longest prompt of ours
MESSAGE_STEP, CONTEXT_STEP = 8, 128  # rounded up to whole steps
LEAST_CONTEXT = 512  # other callers of the endpoint have prompts of their own
CACHE_MARGIN = 2  # over the need of all sequences at full length
BYTES = 2  # of a number in the KV cache


@dataclass(frozen=True)
class Budget:
    """The longest prompt and message, tokens, as measured."""

    longest_prompt: int
    longest_message: int

    @property
    def message(self) -> int:
        """Tokens that an answer may have."""
        return _up(self.longest_message * MARGIN, MESSAGE_STEP)

    @property
    def context(self) -> int:
        """Tokens of prompt and answer that a server must hold for one request."""
        return max(LEAST_CONTEXT, _up(self.longest_prompt * MARGIN + self.message, CONTEXT_STEP))


def read_budget(folder: Path) -> Budget:
    """Read the budget of an adapter or a checkpoint.

    Raises:
        ArtefactError: it has none, so it is older than this version.
    """
    try:
        record = json.loads((folder / PROMPT_FILE).read_text(encoding="utf-8"))
        return Budget(int(record["longest_prompt"]), int(record["longest_message"]))
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(
            f"{folder / PROMPT_FILE} does not say how long prompts and messages are.",
            "Make it again: `make train merge`.",
        ) from error


def sampling_defaults(generation: GenerationSection, message: int) -> dict[str, float | int]:
    """Return a bare call's defaults: the recipe's, with `message` tokens for an answer unless the recipe says."""
    return {**generation.model_dump(), "max_new_tokens": generation.max_new_tokens or message}


def context_length(checkpoint: Path, budget: Budget, wanted: int | None = None) -> int:
    """Return the context to serve a checkpoint with, tokens: what is wanted, or the budget within the model's reach.

    Raises:
        ArtefactError: the model cannot read a whole prompt and message.
    """
    reach = _config(checkpoint).get("max_position_embeddings", budget.context)
    context = wanted or min(budget.context, reach)
    needed = budget.longest_prompt + budget.longest_message
    if min(context, reach) < needed:
        raise ArtefactError(
            f"A prompt and its message take up to {needed} tokens; the model in {checkpoint} reads "
            f"{min(context, reach)}.",
            f"Set serve.max_model_len to {needed} or more, up to the model's {reach}; or use another base.",
        )
    return context


def cache_bytes(checkpoint: Path, context: int, sequences: int) -> int:
    """Return the size of a 16-bit KV cache that holds so many sequences at full length, twice, bytes."""
    config = _config(checkpoint)
    heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return int(CACHE_MARGIN * sequences * context * config["num_hidden_layers"] * 2 * heads * size * BYTES)


def _config(checkpoint: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return content


def _up(tokens: float, step: int) -> int:
    return math.ceil(tokens / step) * step
