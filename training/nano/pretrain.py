"""Train the nano base from scratch: the bare subtraction, every format at once, what a park has, mostly messages.

In: a seed and step counts. Out: a Llama-layout model and its tokenizer in memory (`export.py` writes them).
Muon on the matrices cuts the training from an hour to minutes (docs/LOG.md has the comparison).
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
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

REPORTED = 100  # steps between two lines in a log, where no bar can be shown
GROUP = 16  # conversations of like length that are computed at once: less padding


@dataclass(frozen=True, slots=True)
class Batch:
    """Conversations whose answers share their prompt: each answer sees the prompt and itself, and no other answer."""

    ids: torch.Tensor  # (batch, length)
    positions: torch.Tensor  # (batch, length): every answer begins where the prompt ends
    visible: torch.Tensor  # (batch, 1, length, length), bool
    rows: torch.Tensor  # (answer tokens,): the conversation of each
    sources: torch.Tensor  # (answer tokens,): the position that must predict it
    targets: torch.Tensor  # (answer tokens,)


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
    """Return the conversations in groups of like length; only the assistant's turns, all at the end, are learned."""
    asked = [[message for message in talk if message["role"] != "assistant"] for talk in talks]
    answered = [[*prompt, answer] for talk, prompt in zip(talks, asked, strict=True) for answer in talk[len(prompt) :]]
    prompts = tokenizer.apply_chat_template(asked, tokenize=True, add_generation_prompt=True)["input_ids"]
    full = iter(tokenizer.apply_chat_template(answered, tokenize=True)["input_ids"])
    rows = [
        (prompt, [next(full)[len(prompt) :] for _ in talk[len(turns) :]])
        for talk, turns, prompt in zip(talks, asked, prompts, strict=True)
    ]
    rows.sort(key=lambda row: len(row[0]) + sum(map(len, row[1])))
    return [_pack(rows[start : start + group], tokenizer.pad_token_id) for start in range(0, len(rows), group)]


def _pack(rows: list[tuple[list[int], list[list[int]]]], pad: int) -> Batch:
    length = max(len(prompt) + sum(map(len, answers)) for prompt, answers in rows)
    ids = torch.full((len(rows), length), pad)
    positions = torch.zeros_like(ids)
    part = torch.full_like(ids, -1)  # 0: the prompt; 1, 2, …: the answers
    learned: list[tuple[int, int, int]] = []
    for row, (prompt, answers) in enumerate(rows):
        end = start = len(prompt)
        ids[row, :end], positions[row, :end], part[row, :end] = torch.tensor(prompt), torch.arange(end), 0
        for number, answer in enumerate(answers, 1):
            here = slice(start, start + len(answer))
            ids[row, here], part[row, here] = torch.tensor(answer), number
            positions[row, here] = torch.arange(end, end + len(answer))
            sources = [end - 1, *range(start, start + len(answer) - 1)]
            learned += [(row, source, token) for source, token in zip(sources, answer, strict=True)]
            start += len(answer)
    same = part[:, :, None] == part[:, None, :]
    visible = (same | (part == 0)[:, None, :]).tril()[:, None]
    return Batch(ids, positions, visible, *torch.tensor(learned).T)


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
    about_messages = plan.terse_steps + plan.mixed_steps
    for step in range(plan.steps):
        if step < plan.terse_steps:
            yield encode(tokenizer, list(islice(terse, plan.terse_batch)), plan.terse_batch)
        elif about_messages <= step < about_messages + plan.park_steps:
            yield encode(tokenizer, list(islice(park, plan.park_batch)))
        else:
            last = step >= about_messages
            talks = list(islice(message if last else short, plan.short_batch))
            ramblings = list(islice(last_rambling if last else rambling, plan.rambling_batch))
            yield [*encode(tokenizer, talks), *encode(tokenizer, ramblings)]


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
        hidden = model.model(
            input_ids=batch.ids, attention_mask=batch.visible, position_ids=batch.positions, use_cache=False
        ).last_hidden_state
        logits = model.lm_head(hidden[batch.rows, batch.sources])
        loss = torch.nn.functional.cross_entropy(logits, batch.targets) / len(batches)
        loss.backward()
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.setdefault("peak_lr", group["lr"])
        optimizer.step()
        optimizer.zero_grad()
    return total
