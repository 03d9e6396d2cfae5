"""Rehearse serving at KORMo-10B's full size on a CPU: vLLM loads random 4-bit weights and answers with them.

Usage: python -m benchmarks.full_size_awq [--layers 40] [--folder runs/full-size-awq]
Out: a table of load time, memory, and ms per token against the time to read the weights from memory once.
Needs 7.1 GB of disk at 40 layers and removes them again. Not run by `make test`.
"""

import shutil
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer

from benchmarks.gpu_check import SHAPES, Size, TokenServer
from benchmarks.random_awq import AWQ_BYTES, write_awq
from core.errors import ServerFailed, SignboardError
from core.ports import free_port
from pipeline.cli import console, run_app, show_table
from pipeline.recipe import load_recipe
from serve.flags import vllm_command, vllm_environment, vllm_flags
from serve.preflight import check_memory
from serve.settings import ServeSettings

PROMPT, TOKENS = 80, 32
GIB = 2**30
CONTEXT = 512  # tokens; the checkpoint has no tokenizer that could tell


def main(
    layers: Annotated[int, typer.Option(min=1, help="Layers; KORMo-10B has 40.")] = 40,
    folder: Annotated[Path, typer.Option(help="Scratch folder, removed at the end.")] = Path("runs/full-size-awq"),
) -> None:
    """Write, load, ask; print the table."""
    if folder.exists():
        raise SignboardError(f"{folder} exists; it would be removed.", "Choose a new --folder.")
    shape = SHAPES[Size.KORMO]
    try:
        size = write_awq(folder / "awq", layers, shape)
        bandwidth = read_bandwidth()
        found = serve(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    read = shape.bytes_per_token(layers, AWQ_BYTES)
    limit = read / bandwidth * 1000
    rows = [
        ["weights on disk", f"{size / 1e9:.2f} GB"],
        ["vLLM's start to the first token", f"{found['start']:.0f} s"],
        ["peak memory while loading, all processes (PSS)", f"{found['peak'] / GIB:.1f} GiB"],
        ["memory while serving (PSS)", f"{found['serving'] / GIB:.1f} GiB"],
        [f"prompt of {PROMPT} tokens to the first token", f"{found['first'] * 1000:.0f} ms"],
        ["ms per token, one request", f"{found['token'] * 1000:.0f}"],
        ["read per token", f"{read / 1e9:.2f} GB"],
        ["memory bandwidth, measured by reading 2 GiB", f"{bandwidth / 1e9:.1f} GB/s"],
        ["limit, ms per token", f"{limit:.0f}"],
        ["share of the limit reached", f"{limit / 1000 / found['token']:.0%}"],
    ]
    show_table(f"KORMo-10B's shape, {layers} layers, random AWQ weights, CPU", [["measured", "value"], *rows])


def read_bandwidth(size: int = 2 * GIB, times: int = 5) -> float:
    """Return the bytes per second that all cores together read from memory."""
    import torch

    block = torch.ones(size // 4, dtype=torch.float32)
    seconds = []
    for _ in range(times):
        start = time.monotonic()
        block.sum()
        seconds.append(time.monotonic() - start)
    return size / min(seconds)


def serve(folder: Path) -> dict[str, float]:
    """Serve the checkpoint; return seconds and bytes."""
    recipe = load_recipe(Path("recipes/kormo-10b.yaml"), ["serve.enforce_eager=true", "serve.max_num_seqs=8"])
    check_memory(recipe, folder / "awq", CONTEXT)
    settings = ServeSettings(host="127.0.0.1", port=free_port(), start_timeout=1800)
    flags = [
        *vllm_flags(recipe, folder / "awq", CONTEXT, settings.host, settings.port, cpu=True),
        "--skip-tokenizer-init",
    ]
    server = TokenServer(
        vllm_command(flags),
        vllm_environment(recipe, cpu=True),
        recipe.serve.model_name,
        settings,
        folder.with_suffix(".log"),
    )
    with MemoryWatch() as memory, server:
        loaded = memory.peak
        one = min(ask(server.url, recipe.serve.model_name, 1) for _ in range(3))
        many = min(ask(server.url, recipe.serve.model_name, TOKENS + 1) for _ in range(3))
        return {
            "start": server.start_seconds,
            "peak": loaded,
            "serving": family_memory(),
            "first": one,
            "token": (many - one) / TOKENS,
        }


def ask(url: str, model: str, tokens: int) -> float:
    """Return the seconds that vLLM takes to continue a new prompt by this many tokens."""
    start = time.monotonic()
    ids = [1 + (time.monotonic_ns() // (i + 1)) % 100_000 for i in range(PROMPT)]
    body: dict[str, Any] = {"model": model, "prompt": ids, "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    answer = httpx.post(f"{url}/completions", json=body, timeout=600, trust_env=False)
    if answer.status_code != httpx.codes.OK:
        raise ServerFailed(f"vLLM answers {answer.status_code}: {answer.text[:200]}")
    return time.monotonic() - start


class MemoryWatch:
    """Watches the memory of this process's children while a `with` block runs."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            self.peak = max(self.peak, family_memory())


def family_memory() -> float:
    """Return the proportional set size of all descendants, bytes."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


if __name__ == "__main__":
    console.print("writing the checkpoint")
    run_app(lambda: typer.run(main))
