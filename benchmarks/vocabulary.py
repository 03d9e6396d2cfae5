"""How many tokens a message takes, by the size of nano's vocabulary. Digits and names are single tokens in each.

Usage: python -m benchmarks.vocabulary
Out: a table. It trains tokenizers, not bases: what a vocabulary does to the numbers, only a base from scratch shows.
"""

import random
import statistics

import typer

from data.compose import compose
from data.scenes import cases
from pipeline.cli import run_app, show_table
from training.nano.tokenizer import train_tokenizer

SIZES = (1024, 2048, 4096, 8192)
WIDTH = 256  # numbers of a token's embedding; the head has as many
BYTES = 2  # of a number
EVERY = 4  # of the grid's readings, one


def main() -> None:
    """Compose messages, and count their tokens, the end of turn included."""
    asked = cases(1, EVERY)
    messages = [compose(reading, scene, random.Random(number)) for number, (_, reading, scene) in enumerate(asked)]
    rows = [["vocabulary", "tokens in it", "tokens a message", "of the longest", "embeddings and head, MiB"]]
    for size in SIZES:
        tokenizer = train_tokenizer(0, size)
        lengths = [len(tokenizer(message)["input_ids"]) + 1 for message in messages]
        mib = 2 * len(tokenizer) * WIDTH * BYTES / 2**20
        mean = statistics.mean(lengths)
        rows.append([f"{size:,}", f"{len(tokenizer):,}", f"{mean:.1f}", str(max(lengths)), f"{mib:.1f}"])
    show_table(f"{len(messages)} messages", rows)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
