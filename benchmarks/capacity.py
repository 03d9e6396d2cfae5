"""How many boards a machine supports: measured for the nano model on two cores, a roofline for KORMo-10B on GPUs.

Usage: python -m benchmarks.capacity
In: docs/benchmarks.json (the gateway's row). Out: two tables for docs/capacity.md. The roofline is an upper limit from
a card's data sheet, with nothing lost anywhere; it is not a measurement.
"""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import BANDWIDTH, PROMPT, SEQUENCE, SHAPES, Size
from benchmarks.random_awq import AWQ_BYTES, Shape
from pipeline.cli import show_table
from pipeline.recipe import load_recipe

SAFE = 0.7  # share of the knee to plan with: docs/benchmarks.md shows the latencies beyond it
MINUTES = (1, 10, 60)  # between a board's readings
BURST = 5.0  # seconds within which all boards' sensors send on the hour
QUEUE = 32 + 128  # requests that the gateway holds by default: SIGNBOARD_GATEWAY_RUNNING, …_WAITING
DEADLINE = 10.0  # seconds within which it answers: …_DEADLINE
FRESH = 16  # prompt tokens after the prefix that all prompts share; the prefix cache holds the rest
BESIDE = 1.5  # GiB of GPU memory for activations and CUDA graphs
KV_BYTES = 2  # per value, bf16


@dataclass(frozen=True)
class Card:
    """A GPU's data sheet."""

    name: str
    gib: float
    tflops: float  # bf16 in, fp32 sums, dense

    @property
    def bandwidth(self) -> float:
        """Bytes per second."""
        return BANDWIDTH[self.name] * 1e9


CARDS = (Card("NVIDIA GeForce RTX 3060", 12, 25.3), Card("NVIDIA H200", 141, 989))


def knee(levels: dict[str, dict[str, float]]) -> int:
    """Return the callers at which messages per second over the p50 is highest (Kleinrock's power)."""
    return int(max(levels, key=lambda n: levels[n]["per_second"] / levels[n]["p50_ms"]))


def boards(rate: float) -> list[str]:
    """Return how many boards a rate of messages per second supports: at each pace, and in one burst."""
    paced = [f"{SAFE * rate * 60 * minutes:,.0f}" for minutes in MINUTES]
    held, answered = QUEUE + SAFE * rate * BURST, SAFE * rate * (BURST + DEADLINE)
    return [*paced, f"{min(held, answered):,.0f}"]


def kv_bytes(shape: Shape) -> int:
    """Return the KV cache's bytes per token."""
    return 2 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim * KV_BYTES


def flops(shape: Shape) -> float:
    """Return the operations per token: two for each weight used."""
    layer = sum(rows * columns for rows, columns in shape.linears().values())
    return 2.0 * (shape.num_hidden_layers * layer + shape.hidden_size * shape.vocab_size)


def held_bytes(shape: Shape) -> float:
    """Return the bytes of all weights: 4-bit linears, head and embedding in bf16."""
    return shape.bytes_per_token(shape.num_hidden_layers, AWQ_BYTES) + 2 * shape.hidden_size * shape.vocab_size


def seconds_per_message(shape: Shape, card: Card, at_once: int) -> float:
    """Return the least seconds per message in an always full batch: the time to read its bytes or to compute it.

    The prompt's pass gives the first token, so decoding takes one pass less than tokens; at best the two overlap.
    """
    decoded = SEQUENCE - PROMPT - 1
    cached = (PROMPT + SEQUENCE) / 2 * kv_bytes(shape)
    weights = shape.bytes_per_token(shape.num_hidden_layers, AWQ_BYTES)
    reading = decoded * (weights / at_once + cached) / card.bandwidth
    computing = (decoded + FRESH) * flops(shape) / card.tflops / 1e12
    return max(reading, computing)


def room(shape: Shape, card: Card) -> int:
    """Return how many messages fit into the card's memory at once."""
    free = card.gib * 2**30 * 0.9 - held_bytes(shape) - BESIDE * 2**30
    return max(0, int(free / (SEQUENCE * kv_bytes(shape))))


def measured_rows(summary: dict[str, Any]) -> list[list[str]]:
    """Return the measured table: one caller, the knee, the most callers."""
    closed = summary["contenders"]["gateway"]["closed"]
    levels = {
        n: {"per_second": statistics.median(level["per_second"]), "p50_ms": level["p50_ms"], "p99_ms": level["p99_ms"]}
        for n, level in closed.items()
    }
    most = max(levels, key=lambda n: levels[n]["per_second"])
    rows = [["", "callers", "messages/s", "p50, ms", "p99, ms", *_paces()]]
    for name, n in (("one caller", "1"), ("knee", str(knee(levels))), ("most", most)):
        level = levels[n]
        values = [level[key] for key in ("per_second", "p50_ms", "p99_ms")]
        figures = ["–" if value is None else f"{value:.0f}" for value in values]  # a p99 wants enough answers
        rows.append([name, n, *figures, *(boards(level["per_second"]) if name == "knee" else [""] * 4)])
    return rows


def roofline_rows() -> list[list[str]]:
    """Return the roofline table for KORMo-10B in 4 bit, as many at once as the recipe allows."""
    shape, most = SHAPES[Size.KORMO], load_recipe(Path("recipes/kormo-10b.yaml")).serve.max_num_seqs
    rows = [["card", "at once", "messages/s", *_paces()]]
    for card in CARDS:
        for at_once in sorted({1, 32, most}):
            if at_once <= room(shape, card):
                rate = 1 / seconds_per_message(shape, card, at_once)
                rows.append([card.name, str(at_once), f"{rate:.1f}", *boards(rate)])
    return rows


def _paces() -> list[str]:
    return [*[f"boards, every {m} min" for m in MINUTES], f"boards that all send within {BURST:g} s"]


def main() -> None:
    """Print both tables."""
    page = Path("docs/benchmarks.json")
    if page.exists():
        summary = json.loads(page.read_text(encoding="utf-8"))
        machine = summary["machine"]
        title = f"Measured: {summary['recipe']}, {machine['cores']} cores, {machine['processor']}"
        show_table(title, measured_rows(summary))
    show_table("Roofline, not measured: KORMo-10B in 4 bit", roofline_rows())


if __name__ == "__main__":
    main()
