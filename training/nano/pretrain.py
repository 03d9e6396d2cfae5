"""Train the nano base from scratch: the bare subtraction, every format at once, what a park has, mostly messages.

In: a seed and step counts. Out: a Llama-layout model and its tokenizer in memory (`export.py` writes them).
Muon on the matrices cuts the training from an hour to minutes (docs/LOG.md has the comparison).
"""

import math
import random
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.prompt import Message
from training.families import to_kormo
from training.nano.corpus import (
    last_rambling_stream,
    message_stream,
    park_stream,
    rambling_stream,
    short_stream,
    terse_stream,
)
from training.packing import IGNORED, collate, pack

REPORTED = 100  # steps between two lines in a log, where no bar can be shown
Batch = dict[str, torch.Tensor]  # ids, positions, visible tokens, labels: see `collate`
GROUP = 16  # conversations of like length that are computed at once: less padding


@dataclass(frozen=True, slots=True)
class Plan:
    """Step counts, batch sizes (conversations) and peak learning rates."""

    terse_steps: int = 500
    mixed_steps: int = 1000
    park_steps: int = 1100  # a checkpoint's training can go on with these and the next: see `continue_from`
    message_steps: int = 800
    terse_batch: int = 96
    park_batch: int = 48
    short_batch: int = 48
    rambling_batch: int = 12
    message_batch: int = 32  # of the last phase, with the next
    last_rambling_batch: int = 24
    matrix_lr: float = 1e-3  # Muon, scaled to AdamW's update size
    other_lr: float = 2e-3  # AdamW: embeddings, head, norms
    warmup: int = 30
    seed: int = 11

    @property
    def steps(self) -> int:
        """All optimizer steps."""
        return self.terse_steps + self.mixed_steps + self.park_steps + self.message_steps

    def rate(self, step: int) -> float:
        """Learning-rate factor: warm-up and flat, then three cosines to 1 %, the last one lower."""
        if step < self.terse_steps:
            return min(1.0, (step + 1) / self.warmup)
        step -= self.terse_steps
        if step < self.mixed_steps:
            return _cosine(step / self.mixed_steps)
        step -= self.mixed_steps
        if step < self.park_steps:
            return min(1.0, (step + 1) / self.warmup) * _cosine(step / self.park_steps)
        step -= self.park_steps
        return 0.4 * min(1.0, (step + 1) / self.warmup) * _cosine(step / self.message_steps)


def _cosine(done: float) -> float:
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Return an untrained model with KORMo-10B's proportions, scaled down."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=512,
            rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def continue_from(folder: Path, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Return the model of a written checkpoint, in fp32."""
    model = new_model(tokenizer, seed)
    tensors = load_file(folder / "model.safetensors")
    model.load_state_dict({name: tensors[to_kormo(name)].float() for name in model.state_dict()})
    return model


def pretrain(
    tokenizer: PreTrainedTokenizerFast, plan: Plan, model: LlamaForCausalLM | None = None
) -> tuple[LlamaForCausalLM, list[float]]:
    """Train a model, by default a new one; return it with the loss of every step."""
    model = (model or new_model(tokenizer, plan.seed)).train()
    optimizers = new_optimizers(model, plan)
    losses = []
    columns = (TextColumn("base {task.fields[note]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("base", total=plan.steps, note="")
        for step, batches in enumerate(_batches(tokenizer, plan)):
            losses.append(train_step(model, optimizers, batches, plan.rate(step)))
            progress.update(task, advance=1, note=f"loss {losses[-1]:.4f}")
            if not progress.console.is_terminal and (step + 1) % REPORTED == 0:
                print(f"base: step {step + 1} of {plan.steps}, loss {losses[-1]:.4f}", flush=True)
    return model.eval(), losses


def encode(tokenizer: PreTrainedTokenizerFast, talks: list[list[Message]], group: int = GROUP) -> list[Batch]:
    """Return the conversations in groups of like length; only the assistant's turns, all at the end, are learned.

    Each answer sees its prompt and itself, and no other answer (`training/packing.py`).
    """
    asked = [[message for message in talk if message["role"] != "assistant"] for talk in talks]
    answered = [[*prompt, answer] for talk, prompt in zip(talks, asked, strict=True) for answer in talk[len(prompt) :]]
    prompts = tokenizer.apply_chat_template(asked, tokenize=True, add_generation_prompt=True)["input_ids"]
    full = iter(tokenizer.apply_chat_template(answered, tokenize=True)["input_ids"])
    packed = [
        asdict(next(pack([(next(full), len(prompt)) for _ in talk[len(turns) :]], size=sys.maxsize)))
        for talk, turns, prompt in zip(talks, asked, prompts, strict=True)
    ]
    packed.sort(key=lambda sequence: len(sequence["input_ids"]))
    return [collate(packed[start : start + group], tokenizer.pad_token_id) for start in range(0, len(packed), group)]


def _batches(tokenizer: PreTrainedTokenizerFast, plan: Plan) -> Iterator[list[Batch]]:
    terse, short, park, message, rambling, last_rambling = (
        stream(random.Random(plan.seed))
        for stream in (
            terse_stream,
            short_stream,
            park_stream,
            message_stream,
            rambling_stream,
            last_rambling_stream,
        )
    )
    to_mixed = plan.terse_steps
    to_parks = to_mixed + plan.mixed_steps
    to_messages = to_parks + plan.park_steps
    for step in range(plan.steps):
        if step < to_mixed:
            yield encode(tokenizer, list(islice(terse, plan.terse_batch)), plan.terse_batch)
        elif step < to_parks:
            talks, ramblings = islice(short, plan.short_batch), islice(rambling, plan.rambling_batch)
            yield [*encode(tokenizer, list(talks)), *encode(tokenizer, list(ramblings))]
        elif step < to_messages:
            yield encode(tokenizer, list(islice(park, plan.park_batch)))
        else:
            talks, ramblings = islice(message, plan.message_batch), islice(last_rambling, plan.last_rambling_batch)
            yield [*encode(tokenizer, list(talks)), *encode(tokenizer, list(ramblings))]


def new_optimizers(model: LlamaForCausalLM, plan: Plan) -> list[torch.optim.Optimizer]:
    """Return Muon for the layers' matrices and AdamW for the rest."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    known = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    return [
        torch.optim.Muon(matrices, lr=plan.matrix_lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=plan.other_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train_step(
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    batches: list[Batch],
    rate: float,
) -> float:
    """Learn from some batches in one optimizer step; return their mean loss."""
    total = 0.0
    for batch in batches:
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        hidden = model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
        labels = batch["labels"][:, 1:]
        learned = labels != IGNORED  # the head need not compute the others
        logits = model.lm_head(hidden[learned])
        loss = torch.nn.functional.cross_entropy(logits, labels[learned]) / len(batches)
        loss.backward()
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.setdefault("peak_lr", group["lr"])
        optimizer.step()
        optimizer.zero_grad()
    return total
