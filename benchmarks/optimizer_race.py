"""Muon against AdamW on the nano base's first phase: how many steps until the subtraction is right?

Usage: python -m benchmarks.optimizer_race [--steps 500] [--every 100]
Same model, same data, same order; greedy accuracy over every 4th pair. Not run by `make test`.
"""

import random
import time
from itertools import islice
from typing import Annotated, Any

import torch
import typer

from pipeline.cli import run_app, show_table
from training.chat_template import END_OF_TURN
from training.nano.corpus import grid, terse_stream
from training.nano.pretrain import Plan, encode, new_model, new_optimizers, train_step
from training.nano.probe import answers, arithmetic_right, prompt_of
from training.nano.tokenizer import train_tokenizer

ADAMW_LR = 1e-3  # usual at this size, and used in the earlier trials


def main(
    steps: Annotated[int, typer.Option(min=1, help="Steps per optimizer.")] = 500,
    every: Annotated[int, typer.Option(min=1, help="Steps between measurements.")] = 100,
) -> None:
    """Run both and print accuracy by step."""
    plan = Plan(terse_steps=steps, mixed_steps=0)
    tokenizer = train_tokenizer(plan.seed)
    columns = {}
    for name in ("muon", "adamw"):
        model = new_model(tokenizer, plan.seed).train()
        adamw = torch.optim.AdamW(model.parameters(), lr=ADAMW_LR, betas=(0.9, 0.95), weight_decay=0.1)
        columns[name] = race(model, tokenizer, new_optimizers(model, plan) if name == "muon" else [adamw], plan, every)
    rows = [[str(step), *(columns[name][step] for name in columns)] for step in columns["muon"]]
    show_table("right, share of pairs (seconds of training)", [["step", *columns], *rows])


def race(model: Any, tokenizer: Any, racing: list[Any], plan: Plan, every: int) -> dict[int, str]:
    """Train and return accuracy with the training time by step."""
    stream = terse_stream(random.Random(plan.seed))
    found, seconds = {}, 0.0
    for step in range(1, plan.steps + 1):
        start = time.monotonic()
        batches = encode(tokenizer, list(islice(stream, plan.terse_batch)), plan.terse_batch)
        train_step(model, racing, batches, plan.rate(step - 1))
        seconds += time.monotonic() - start
        if step % every == 0:
            found[step] = f"{accuracy(model.eval(), tokenizer):.1%} ({seconds:.0f} s)"
            model.train()
    return found


def accuracy(model: Any, tokenizer: Any) -> float:
    """Return the share of right differences, greedy."""
    readings, rng = grid()[::4], random.Random(0)
    talks = [prompt_of("difference", reading, None, rng) for reading in readings]
    texts = answers(model, tokenizer, talks, "difference")
    right = [arithmetic_right(t.removesuffix(END_OF_TURN), r) for t, r in zip(texts, readings, strict=True)]
    return sum(right) / len(right)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
