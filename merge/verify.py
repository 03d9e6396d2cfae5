"""Proofs on held-out rows: merged against base + adapter, AWQ against merged and against round-to-nearest.

Everything runs in fp32 in transformers, one row at a time; losses are nats per completion token.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from rich.progress import track
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from data.recipe import QuantizeSection
from merge.awq_format import dequantize, round_to_nearest
from training.tokens import load_tokenizer, row_ids


@dataclass(frozen=True)
class HeldOut:
    """Rows as token ids, each with its prompt length."""

    rows: list[tuple[list[int], int]]

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

    def logprobs(self, model: Any, what: str) -> list[torch.Tensor]:
        """Return, per row, the log-probabilities (completion tokens, vocabulary) that predict the completion."""
        found = []
        for ids, prompt in track(self.rows, what, transient=True):
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0, prompt - 1 : -1]
            found.append(logits.float().log_softmax(-1))
        return found

    def loss(self, logprobs: list[torch.Tensor]) -> float:
        """Return the mean loss per completion token, nats."""
        losses = [
            cross_entropy(row, torch.tensor(ids[prompt:]), reduction="none")
            for row, (ids, prompt) in zip(logprobs, self.rows, strict=True)
        ]
        return float(torch.cat(losses).mean())


def load_fp32(folder: Path) -> Any:
    """Load a 16-bit checkpoint for exact comparison."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()


def compare_fold(base: Path, adapter: Path, merged: Path, held_out: HeldOut) -> dict[str, float]:
    """Compare the merged checkpoint with base + adapter (fp32) on held-out rows."""
    reference = held_out.logprobs(PeftModel.from_pretrained(load_fp32(base), str(adapter)), "base + adapter")
    folded = held_out.logprobs(load_fp32(merged), "merged")
    a, b = torch.cat(reference), torch.cat(folded)
    return {
        "loss_base_adapter": round(held_out.loss(reference), 5),
        "loss_merged": round(held_out.loss(folded), 5),
        "max_logprob_difference": round(float((a - b).abs().mul(a.exp() > 1e-3).max()), 5),
        "mean_kl": float(f"{float((a.exp() * (a - b)).sum(-1).mean()):.3g}"),
        "same_top_token": round(float((a.argmax(-1) == b.argmax(-1)).float().mean()), 5),
    }


def compare_awq(merged: Path, awq: Path, held_out: HeldOut, settings: QuantizeSection) -> dict[str, float]:
    """Compare AWQ and round-to-nearest with the merged checkpoint on held-out rows."""
    model = load_fp32(merged)
    loss_merged = held_out.loss(held_out.logprobs(model, "merged"))
    original = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quantized = [name for name in original if "_proj." in name]
    rounded = {name: round_to_nearest(original[name], settings.group_size, settings.bits) for name in quantized}
    model.load_state_dict(original | rounded)
    loss_rounded = held_out.loss(held_out.logprobs(model, "round to nearest"))
    model.load_state_dict(dequantize(awq))
    loss_awq = held_out.loss(held_out.logprobs(model, "AWQ"))
    return {
        "loss_merged": round(loss_merged, 5),
        "loss_round_to_nearest": round(loss_rounded, 5),
        "loss_awq": round(loss_awq, 5),
        "loss_ratio": round(loss_awq / loss_merged, 5),
    }
