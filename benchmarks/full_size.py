"""Rehearse import and fold at KORMo-10B's full size with random weights: seconds, MB/s against a plain copy, memory.

Usage: python -m benchmarks.full_size [--folder runs/full-size] [--layers 40]
Needs twice the size of the checkpoint on disk (43 GB at 40 layers) and removes it again. Not run by `make test`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import SignboardError
from pipeline.cli import run_app, show_table

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD, VOCABULARY = 4096, 16384, 32, 8, 128, 125184
SHARDS = 5
RANK = 32
# Run in a process of its own, so that its peak memory can be measured.
IMPORT = "from training.import_base import import_checkpoint as work; work(Path(sys.argv[1]), Path(sys.argv[2]))"
FOLD = (
    "from merge.adapter import read_adapter; from merge.fold import fold_checkpoint; "
    "fold_checkpoint(Path(sys.argv[1]), read_adapter(Path(sys.argv[3]), Path(sys.argv[1])), Path(sys.argv[2]))"
)
# 38 held-out rows of 110 tokens, 80 of them the prompt
PROVE = (
    "from merge.proofs import HeldOut, compare_fold; "
    "rows = [([7 * i + j for j in range(110)], 80) for i in range(38)]; "
    "compare_fold(Path(sys.argv[1]), Path(sys.argv[3]), Path(sys.argv[2]), HeldOut(rows))"
)
REPORT = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)"


def main(
    folder: Annotated[Path, typer.Option(help="Scratch folder, removed at the end.")] = Path("runs/full-size"),
    layers: Annotated[int, typer.Option(min=1, help="Layers; KORMo-10B has 40.")] = 40,
    prove: Annotated[
        bool, typer.Option("--prove", help="Also compare merged with base + adapter on 38 rows: 80 TFLOP a pass.")
    ] = False,
) -> None:
    """Write, copy, import, fold; print the table."""
    if folder.exists():
        raise SignboardError(f"{folder} exists; it would be removed.", "Choose a new --folder.")
    source, adapter = folder / "kormo", folder / "adapter"
    try:
        write_checkpoint(source, layers)
        write_adapter(adapter, layers)
        size = sum(path.stat().st_size for path in source.glob("*.safetensors"))
        rows = [["step", "seconds", "MB/s", "peak memory, GiB"]]
        rows.append(measured("cp", size, *copy(source, folder / "copy")))
        shutil.rmtree(folder / "copy")
        rows.append(measured("import", size, *in_process(IMPORT, source, folder / "llama")))
        shutil.rmtree(source)
        rows.append(measured("fold", size, *in_process(FOLD, folder / "llama", folder / "merged", adapter)))
        if prove:
            rows.append(measured("proof", size, *in_process(PROVE, folder / "llama", folder / "merged", adapter)))
        show_table(f"{size / 1e9:.1f} GB, {layers} layers, {SHARDS} shards", rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    """Return KORMo's tensor names and shapes."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for i in range(layers):
        layer = f"model.layers.{i}."
        found |= {
            f"{layer}self_attn.q_proj.weight": (HEADS * HEAD, HIDDEN),
            f"{layer}self_attn.k_proj.weight": (KV_HEADS * HEAD, HIDDEN),
            f"{layer}self_attn.v_proj.weight": (KV_HEADS * HEAD, HIDDEN),
            f"{layer}self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
            f"{layer}mlp.gate_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{layer}mlp.up_proj.weight": (INTERMEDIATE, HIDDEN),
            f"{layer}mlp.down_proj.weight": (HIDDEN, INTERMEDIATE),
            f"{layer}pre_attention_layernorm.weight": (HIDDEN,),
            f"{layer}pre_mlp_layernorm.weight": (HIDDEN,),
        }
    return found | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}


def write_checkpoint(folder: Path, layers: int) -> None:
    """Write the checkpoint; weights are one random block repeated, which costs the disk the same."""
    from training.checkpoint import write_header

    folder.mkdir(parents=True)
    # bf16 bit patterns below 0x3F80 with the sign free: finite values of at most 1
    block = bytes(byte if i % 2 == 0 else byte & 0xBF for i, byte in enumerate(os.urandom(1 << 20)))
    tensors = list(shapes(layers).items())
    step = -(-len(tensors) // SHARDS)
    weight_map: dict[str, str] = {}
    for number in range(SHARDS):
        name = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for tensor, shape in tensors[number * step : (number + 1) * step]:
            size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
            header[tensor] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
            end += size
            weight_map[tensor] = name
        with (folder / name).open("wb") as file:
            write_header(file, header)
            for start in range(0, end, len(block)):
                file.write(block[: min(len(block), end - start)])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    config = {
        "model_type": "kormo",
        "architectures": ["KORMoForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_adapter(folder: Path, layers: int) -> None:
    """Write a rank-32 LoRA on q_proj and v_proj."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    tensors = {}
    for name, shape in shapes(layers).items():
        if name.endswith(("q_proj.weight", "v_proj.weight")):
            key = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(RANK, shape[1])
            tensors[f"{key}.lora_B.weight"] = torch.randn(shape[0], RANK)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps({"r": RANK, "lora_alpha": RANK, "peft_type": "LORA", "target_modules": ["q_proj", "v_proj"]})
    )


def copy(source: Path, target: Path) -> tuple[float, int]:
    """Copy a folder with cp and force it to disk; return seconds and 0."""
    start = time.monotonic()
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)  # noqa: S607 - coreutils
    subprocess.run(["sync", "-f", str(target)], check=True)  # noqa: S607
    return time.monotonic() - start, 0


def in_process(code: str, source: Path, target: Path, *more: Path) -> tuple[float, int]:
    """Run a piece of the line in its own process; return seconds and peak memory in bytes."""
    target.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    command = [sys.executable, "-c", f"import sys; from pathlib import Path; {code}; {REPORT}"]
    done = subprocess.run(
        [*command, str(source), str(target), *map(str, more)], check=True, stderr=subprocess.PIPE, text=True
    )
    return time.monotonic() - start, int(done.stderr.split()[-1])


def measured(step: str, size: int, seconds: float, memory: int) -> list[str]:
    """Return a row."""
    return [step, f"{seconds:.0f}", f"{size / 1e6 / seconds:.0f}", f"{memory / 2**30:.2f}" if memory else ""]


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
