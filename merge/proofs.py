"""Proofs on held-out rows: merged against base + adapter, AWQ against merged and against round-to-nearest.

All computations are fp32, layer by layer, so that a model larger than memory can be proven too; losses are nats per
completion token.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import nll_loss

from merge.adapter import read_adapter
from merge.layerwise import Streamed
from merge.weights import Checkpoint, Weights, awq_weights, folded, rounded_to_nearest, through_nf4
from training.tokenization import TokenRow, load_tokenizer, row_ids


@dataclass(frozen=True)
class HeldOut:
    """Rows as token ids, each with its prompt's length."""

    rows: list[TokenRow]

    @classmethod
    def read(cls, data: Path, checkpoint: Path) -> "HeldOut":
        """Read the validation and test rows of a data artefact."""
        tokenizer = load_tokenizer(checkpoint)
        lines = [
            line
            for split in ("validation", "test")
            for line in (data / f"{split}.jsonl").read_text("utf-8").splitlines()
        ]
        return cls([row_ids(tokenizer, json.loads(line)) for line in lines])

    def loss(self, logprobs: list[torch.Tensor]) -> float:
        """Return the mean loss per completion token, nats."""
        losses = [
            nll_loss(row, torch.tensor(ids[prompt:]), reduction="none")
            for row, (ids, prompt) in zip(logprobs, self.rows, strict=True)
        ]
        return round(float(torch.cat(losses).mean()), 5)


def losses_of_folds(base: Path, adapter: Path, held_out: HeldOut) -> dict[str, float]:
    """Return the losses of a QLoRA adapter: as trained, on the NF4 base, and after each of the two folds."""
    plain, change = Checkpoint(base), read_adapter(adapter, base)
    rounded = through_nf4(plain)

    def loss(weights: Weights, what: str, beside: Path | None = None) -> float:
        return held_out.loss(Streamed(base, weights, beside).logprobs(held_out.rows, what))

    return {
        "loss_as_trained": loss(rounded, "NF4 base + adapter", adapter),
        "loss_fold_16bit": loss(folded(plain, change), "folded into 16 bit"),
        "loss_fold_nf4": loss(folded(rounded, change), "folded into NF4"),
    }


def compare_fold(
    base: Path, adapter: Path, merged: Path, held_out: HeldOut, *, nf4: bool = False, qat_group: int | None = None
) -> dict[str, float]:
    """Compare the merged checkpoint with PEFT's base + adapter (fp32) on held-out rows.

    Args:
        base: the 16-bit base.
        adapter: the PEFT adapter.
        merged: the folded checkpoint.
        held_out: the rows.
        nf4: the adapter was folded into the base rounded to NF4 and back.
        qat_group: the fold was rounded to 4 bits in such groups.
    """
    before = through_nf4(Checkpoint(base)) if nf4 else Checkpoint(base)
    reference = Streamed(base, before, adapter, qat_group).logprobs(held_out.rows, "base + adapter")
    after = Streamed(merged, Checkpoint(merged)).logprobs(held_out.rows, "merged")
    pairs = list(zip(reference, after, strict=True))
    return {
        "loss_base_adapter": held_out.loss(reference),
        "loss_merged": held_out.loss(after),
        # torch's maximum: Python's loses a NaN that does not come first
        "max_logprob_difference": round(
            float(torch.stack([((a - b).abs() * (a.exp() > 1e-3)).max() for a, b in pairs]).max()), 5
        ),
        "mean_kl": float(f"{float(torch.cat([(a.exp() * (a - b)).sum(-1) for a, b in pairs]).mean()):.3g}"),
        "same_top_token": round(float(torch.cat([a.argmax(-1) == b.argmax(-1) for a, b in pairs]).float().mean()), 5),
    }


def compare_awq(merged: Path, awq: Path, held_out: HeldOut, group_size: int) -> dict[str, float]:
    """Compare AWQ and round-to-nearest with the merged checkpoint on held-out rows."""
    plain = Checkpoint(merged)
    versions: dict[str, Weights] = {
        "loss_merged": plain,
        "loss_round_to_nearest": rounded_to_nearest(plain, group_size),
        "loss_awq": awq_weights(awq),
    }
    losses = {
        name: held_out.loss(Streamed(merged, weights).logprobs(held_out.rows, name.removeprefix("loss_")))
        for name, weights in versions.items()
    }
    return losses | {"loss_ratio": round(losses["loss_awq"] / losses["loss_merged"], 5)}
