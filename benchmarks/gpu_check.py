"""Measure each stage at KORMo-10B's shape on this machine's GPU, with random weights: training, fold, AWQ, decoding.

Usage: python -m benchmarks.gpu_check [--shape kormo-10b] [--layers N] [--part qlora --part fold ...] [--out FILE.json]
In: only the shape and recipes/kormo-10b.yaml. Out: a table per part, and a JSON that also describes the machine.
Every part runs in its own process, so that its peak memory can be measured and a crash spares the others. 40 layers
need 43 GB of disk, freed again. Not run by `make test`; `--shape tiny` tries all but decoding without a GPU.
"""

import asyncio
import json
import os
import platform
import random
import re
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import typer

from benchmarks import full_size
from benchmarks.random_awq import AWQ_BYTES, BF16_BYTES, Shape, write_awq, write_plain
from core.errors import BadAnswer, ServerFailed, SignboardError, StageError
from core.ports import free_port
from pipeline.cli import run_app, show_table
from pipeline.environment import OFFLINE
from pipeline.manifest import PACKAGES
from pipeline.recipe import Recipe, load_recipe
from serve.flags import on_cpu, vllm_command, vllm_environment, vllm_flags
from serve.process import ModelServer
from serve.settings import ServeSettings
from training.checkpoint import CONFIG, TOKENIZER_FILES

RECIPE = Path("recipes/kormo-10b.yaml")
NANO = Path("training/base/nano")  # its tokenizer stands in where a library insists on one
SEQUENCE, PROMPT = 110, 80  # tokens in a training row, prompt and message; in its prompt alone
STEPS, WARM_STEPS = 13, 3
AWQ_LAYERS = 4  # all 40 take long, and every layer takes the same time
TOKENS, TRIES, CONCURRENT = 128, 3, (1, 8, 32, 64)
START_TIMEOUT = 1800.0  # seconds; a cold disk reads 21 GB
BESIDE_WEIGHTS = 2 << 30  # bytes of GPU memory for KV cache, activations and CUDA graphs
CONTEXT = 512  # tokens; random weights have no tokenizer that could tell
LOG_LINES = 200  # kept of a part that failed
# GB/s, by torch's exact device name (variants of a card differ); from the vendor's data sheets.
BANDWIDTH = {
    "NVIDIA H200": 4800, "NVIDIA H100 80GB HBM3": 3350, "NVIDIA H100 PCIe": 2000, "NVIDIA A100-SXM4-80GB": 2039,
    "NVIDIA A100 80GB PCIe": 1935, "NVIDIA L40S": 864, "NVIDIA L4": 300, "NVIDIA GeForce RTX 4090": 1008,
    "NVIDIA GeForce RTX 3060": 360,
}  # fmt: skip
WORK = "import sys; from benchmarks.gpu_check import work; work(*sys.argv[1:])"
Finding = dict[str, Any]


class Part(StrEnum):
    """A measurement."""

    QLORA = "qlora"
    FOLD = "fold"
    AWQ = "awq"
    DECODE = "decode"  # random AWQ weights
    DECODE_BF16 = "decode-bf16"


class Size(StrEnum):
    """The shape to measure."""

    KORMO = "kormo-10b"
    TINY = "tiny"


SHAPES = {
    Size.KORMO: Shape(
        full_size.HIDDEN, full_size.INTERMEDIATE, 40, full_size.HEADS, full_size.KV_HEADS, full_size.HEAD,
        full_size.VOCABULARY,
    ),
    Size.TINY: Shape(256, 768, 4, 4, 2, 64, 1024),
}  # fmt: skip
NEEDS = {
    Part.QLORA: ("torch", "trl", "peft", "bitsandbytes"),
    Part.FOLD: ("torch",),
    Part.AWQ: ("torch", "awq"),
    Part.DECODE: ("torch", "vllm"),
    Part.DECODE_BF16: ("torch", "vllm"),
}
SERVED = {Part.DECODE: AWQ_BYTES, Part.DECODE_BF16: BF16_BYTES}  # bytes per weight


@dataclass(frozen=True)
class Job:
    """One part's parameters."""

    part: str
    size: Size
    layers: int
    folder: Path  # scratch of the whole check

    @property
    def shape(self) -> Shape:
        """The model's sizes."""
        return SHAPES[self.size]

    @property
    def checkpoint(self) -> Path:
        """The part's input; parts with the same number of layers share one."""
        return self.folder / (f"awq-{self.layers}" if self.part == Part.DECODE else f"base-{self.layers}")

    @property
    def scratch(self) -> Path:
        """The part's own folder."""
        return self.folder / self.part


def main(
    size: Annotated[Size, typer.Option("--shape", help="The model whose sizes the random model gets.")] = Size.KORMO,
    layers: Annotated[int | None, typer.Option(min=1, help="Layers; default: all, and 4 for awq.")] = None,
    folder: Annotated[Path, typer.Option(help="Scratch folder, removed at the end.")] = Path("runs/gpu-check"),
    part: Annotated[list[Part] | None, typer.Option(help="Measure only this; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for all figures and the logs of failed parts.")] = None,
) -> None:
    """Measure the parts one after another; print a table for each."""
    if folder.exists():
        raise SignboardError(f"{folder} exists; it would be removed.", "Choose a new --folder.")
    folder.mkdir(parents=True)
    depth = layers or SHAPES[size].num_hidden_layers
    try:
        host = own_process(Job("machine", size, depth, folder))
        show("machine", host)
        found: dict[str, Finding] = {}
        for name in part or list(Part):
            job = Job(name, size, min(depth, AWQ_LAYERS) if name is Part.AWQ and not layers else depth, folder)
            found[name] = measure(job, host.get("results", {}))
            show(f"{name}: {size}, {job.layers} of {job.shape.num_hidden_layers} layers", found[name])
            if out:  # after every part: whatever ends this process, its results stay
                out.parent.mkdir(parents=True, exist_ok=True)
                content = {"machine": host, "shape": {"name": size, **asdict(job.shape)}, "parts": found}
                out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failed := [name for name, result in found.items() if result["status"] == "failed"]:
        raise StageError(f"{', '.join(failed)} failed.", f"Their logs are in {out}." if out else "--out keeps logs.")


def measure(job: Job, host: Finding) -> Finding:
    """Measure one part in its own process, unless a requirement is missing."""
    if reason := missing(job, host):
        return {"status": "not run", "reason": reason}
    try:
        prepare(job)
        found = own_process(job)
    except OSError as error:  # most likely the disk is full; a half-written checkpoint has no config yet
        found = {"status": "failed", "reason": str(error)}
    shutil.rmtree(job.scratch, ignore_errors=True)
    if job.part == Part.DECODE:
        shutil.rmtree(job.checkpoint, ignore_errors=True)
    found = {"layers": job.layers, **found}
    if found["status"] == "ran" and job.part in SERVED:
        found["results"] |= roofline(job, host, found["results"]["ms_per_token"])
    return found


def missing(job: Job, host: Finding) -> str:
    """Return why a part cannot run here, or an empty text."""
    part = Part(job.part)
    if lacking := [name for name in NEEDS[part] if find_spec(name) is None]:
        return f"{', '.join(lacking)} not installed"
    if not host.get("gpu") and (part in SERVED or (part is not Part.FOLD and job.size is not Size.TINY)):
        return "no CUDA device"
    if part not in SERVED:
        return ""
    if on_cpu():
        return "the vLLM installed is the CPU build"
    shape = job.shape
    weights = shape.bytes_per_token(job.layers, SERVED[part]) + 2 * shape.vocab_size * shape.hidden_size
    share = load_recipe(RECIPE).serve.gpu_memory_utilization
    needed = (weights + BESIDE_WEIGHTS) / share / 2**30
    return f"{needed:.1f} GiB of GPU memory needed" if needed > host["gpu_memory_gib"] else ""


def prepare(job: Job) -> None:
    """Write a part's input, outside its process."""
    job.scratch.mkdir()
    if not (job.checkpoint / CONFIG).exists():
        shutil.rmtree(job.checkpoint, ignore_errors=True)
        write = write_awq if job.part == Part.DECODE else write_plain
        write(job.checkpoint, job.layers, job.shape)
        if job.part != Part.DECODE:
            for name in TOKENIZER_FILES:
                if (NANO / name).exists():
                    shutil.copyfile(NANO / name, job.checkpoint / name)
    if job.part == Part.FOLD:
        write_adapter(job.scratch / "adapter", job)


def write_adapter(folder: Path, job: Job) -> None:
    """Write a random LoRA of the recipe's rank on its modules."""
    import numpy as np
    from safetensors.numpy import save_file

    lora, rng = load_recipe(RECIPE).train.lora, np.random.default_rng(0)
    tensors = {}
    for name, (out, width) in job.shape.linears().items():
        if name.endswith(lora.target_modules):
            for i in range(job.layers):
                key = f"base_model.model.model.layers.{i}.{name}.lora_"
                tensors[f"{key}A.weight"] = rng.standard_normal((lora.rank, width), dtype=np.float32)
                tensors[f"{key}B.weight"] = rng.standard_normal((out, lora.rank), dtype=np.float32) / np.float32(width)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": lora.rank, "lora_alpha": lora.alpha}))


def own_process(job: Job) -> Finding:
    """Run a part in its own process; return its findings, with the end of its logs if it failed."""
    command = [sys.executable, "-c", WORK, job.part, job.size, str(job.layers), str(job.folder)]
    log, answer = job.folder / f"{job.part}.log", job.folder / f"{job.part}.json"
    with log.open("wb") as file:
        done = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **OFFLINE}, check=False
        )
    logs = {path.name: tail(path) for path in sorted(job.folder.glob(f"{job.part}.*log"))}
    if not answer.exists():  # killed, perhaps for its memory
        last = (logs[log.name] or ["nothing in its log"])[-1]
        return {"status": "failed", "reason": f"ended with code {done.returncode}: {last}", "logs": logs}
    found: Finding = json.loads(answer.read_text(encoding="utf-8"))
    return found if found["status"] == "ran" else found | {"logs": logs}


def tail(log: Path) -> list[str]:
    """Return a log's last lines that are not empty."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip()][-LOG_LINES:]


def work(part: str, size: str, layers: str, folder: str) -> None:
    """Run as a part's own process: measure, and write the findings as JSON into the folder."""
    job = Job(part, Size(size), int(layers), Path(folder))
    try:
        found = {"status": "ran", "results": WORKERS[part](job)}
    except Exception as error:
        traceback.print_exc()
        said = error.what if isinstance(error, SignboardError) else f"{type(error).__name__}: {error}"
        found = {"status": "failed", "reason": said.strip().splitlines()[-1]}
    (job.folder / f"{part}.json").write_text(json.dumps(found), encoding="utf-8")


def machine(_: Job) -> Finding:
    """Describe the machine."""
    found: Finding = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "gpu": None, "cpu_cores": os.cpu_count()}
    found |= {"python": platform.python_version(), **{name: installed(name) for name in (*PACKAGES, "vllm")}}
    if find_spec("torch") is None:
        return found
    import torch

    if not torch.cuda.is_available():
        return found
    card = torch.cuda.get_device_properties(0)
    copied = copy_bandwidth()
    return found | {
        "gpu": card.name,
        "gpu_memory_gib": card.total_memory / 2**30,
        "driver": nvidia_smi("driver_version"),
        "cuda": torch.version.cuda,
        "copy_gb_per_second": copied,
        "bandwidth_gb_per_second": BANDWIDTH.get(card.name, copied),
        "bandwidth_source": "data sheet" if card.name in BANDWIDTH else "measured by a device-to-device copy",
    }


def installed(name: str) -> str | None:
    """Return a package's version; for vLLM, also look for its CPU build."""
    for candidate in (name, f"{name}-cpu"):
        try:
            return f"{version(candidate)}{candidate.removeprefix(name)}"
        except PackageNotFoundError:
            continue
    return None


def copy_bandwidth(size: int = 1 << 30, times: int = 20) -> float:
    """Return the GB/s, read and written, of a copy within the GPU."""
    import torch

    source = torch.zeros(size, dtype=torch.uint8, device="cuda")
    target = source.clone()
    torch.cuda.synchronize()
    start = time.monotonic()
    for _ in range(times):
        target.copy_(source)
    torch.cuda.synchronize()
    return 2 * size * times / (time.monotonic() - start) / 1e9


def nvidia_smi(field: str) -> str | None:
    """Ask nvidia-smi about the first visible GPU."""
    if not (path := shutil.which("nvidia-smi")):
        return None
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    command = [path, f"--query-gpu={field}", "--format=csv,noheader,nounits", f"--id={card}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None


def peaks() -> Finding:
    """Return this process's peak memory."""
    import torch

    gpu = torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else None
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"peak_gpu_gib": gpu, "peak_host_gib": host}


def qlora(job: Job) -> Finding:
    """Train on random rows with the recipe's settings, like training.sft."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from training.sft import refuse_untrained
    from training.tokenization import load_tokenizer
    from training.trainer import load_base

    recipe, cuda, ends = load_recipe(RECIPE), torch.cuda.is_available(), [time.monotonic()]
    settings, lora = recipe.train, recipe.train.lora

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if cuda:
                torch.cuda.synchronize()
            ends.append(time.monotonic())

    model = load_base(job.checkpoint, recipe)
    load_seconds = time.monotonic() - ends[0]
    ids = random_ids(job, STEPS * settings.batch_size * settings.gradient_accumulation, SEQUENCE)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(job.scratch),
            max_steps=STEPS,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation,
            gradient_checkpointing=settings.gradient_checkpointing,
            learning_rate=settings.learning_rate,
            max_length=settings.max_length,
            use_cpu=not cuda,
            bf16=cuda,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": [[-100] * PROMPT + row[PROMPT:] for row in ids]}),
        processing_class=load_tokenizer(job.checkpoint),
        peft_config=LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.target_modules),
            task_type="CAUSAL_LM",
        ),
        callbacks=[Clock()],
    )
    trainer.train()
    refuse_untrained(trainer.model)
    step = median(after - before for before, after in list(pairwise(ends[1:]))[WARM_STEPS - 1 :])
    rows = settings.batch_size * settings.gradient_accumulation
    return {
        "load_seconds": load_seconds,
        "steps_per_second": 1 / step,
        "tokens_per_second": rows * SEQUENCE / step,
        "batch_size": rows,
        "tokens_per_row": SEQUENCE,
        **peaks(),
    }


def fold_part(job: Job) -> Finding:
    """Fold a LoRA into the checkpoint."""
    from merge.adapter import read_adapter
    from merge.fold import fold_checkpoint

    size = sum(path.stat().st_size for path in job.checkpoint.glob("*.safetensors"))
    target = job.scratch / "merged"
    target.mkdir()
    start = time.monotonic()
    fold_checkpoint(job.checkpoint, read_adapter(job.scratch / "adapter", job.checkpoint), target)
    seconds = time.monotonic() - start
    return {"checkpoint_gb": size / 1e9, "seconds": seconds, "mb_per_second": size / 1e6 / seconds, **peaks()}


def awq_part(job: Job) -> Finding:
    """Quantize the checkpoint with AutoAWQ, calibrated on random rows."""
    import torch
    from awq.quantize.quantizer import AwqQuantizer

    from merge.awq import quantize

    settings, depth = load_recipe(RECIPE).quantize, job.shape.num_hidden_layers
    search, spent = AwqQuantizer.quantize, []

    def clocked(quantizer: Any) -> None:
        start = time.monotonic()
        search(quantizer)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent.append(time.monotonic() - start)

    AwqQuantizer.quantize = clocked
    target = job.scratch / "awq"
    target.mkdir()
    start = time.monotonic()
    quantize(job.checkpoint, random_ids(job, settings.calibration_rows, SEQUENCE), target, settings)
    found = {"seconds": time.monotonic() - start, "seconds_per_layer": spent[0] / job.layers, **peaks()}
    if job.layers < depth:  # every layer is the same work; loading and saving are excluded
        found[f"extrapolated_seconds_for_{depth}_layers"] = spent[0] / job.layers * depth
    return found


def random_ids(job: Job, rows: int, length: int) -> list[list[int]]:
    """Return rows of random token ids."""
    rng = random.Random(rows)
    return [[rng.randrange(job.shape.vocab_size) for _ in range(length)] for _ in range(rows)]


class TokenServer(ModelServer):
    """vLLM without a tokenizer: it is ready once it continues token ids."""

    def answers(self, timeout: float = 5.0) -> bool:
        """Ask for one token."""
        body = {"model": self._model, "prompt": [1, 2, 3], "max_tokens": 1}
        try:
            answer = httpx.post(f"{self.url}/completions", json=body, timeout=timeout, trust_env=False)
            return answer.status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


def decode(job: Job) -> Finding:
    """Serve the checkpoint with the recipe's flags and time its decoding."""
    recipe, log = load_recipe(RECIPE), job.folder / f"{job.part}.vllm.log"
    settings = ServeSettings(host="127.0.0.1", port=free_port(), start_timeout=START_TIMEOUT)
    flags = [
        *vllm_flags(recipe, job.checkpoint, CONTEXT, settings.host, settings.port, cpu=False),
        "--skip-tokenizer-init",
    ]
    environment = vllm_environment(recipe, cpu=False)
    with TokenServer(vllm_command(flags), environment, recipe.serve.model_name, settings, log) as server:
        found: Finding = {"start_seconds": server.start_seconds, **asyncio.run(rates(server.url, recipe, job))}
        used = nvidia_smi("memory.used")
    said = log.read_text(encoding="utf-8", errors="replace")
    return found | {
        "gpu_memory_used_gib": float(used) / 1024 if used else None,  # most of it is reserved for the KV cache
        "gpu_memory_of_weights_gib": logged(said, r"Model loading took ([\d.]+) GiB"),
        "kv_cache_tokens": logged(said, r"KV cache size: ([\d,]+) tokens"),
        "kernel": logged(said, r"Using (\w+Kernel) for"),
    }


def logged(text: str, pattern: str) -> str | None:
    """Return a value from vLLM's log; None if vLLM no longer logs it like this."""
    return match[1] if (match := re.search(pattern, text)) else None


async def rates(url: str, recipe: Recipe, job: Job) -> Finding:
    """Return ms per token of one request, and tokens per second of several at once, with the recipe's sampling."""
    sampling = recipe.generation.model_dump(exclude={"max_new_tokens"})
    common = {"model": recipe.serve.model_name, "ignore_eos": True, **sampling}

    async with httpx.AsyncClient(timeout=600, trust_env=False, limits=httpx.Limits(max_connections=None)) as client:

        async def seconds(concurrent: int, tokens: int) -> float:
            taken = []
            for i in range(TRIES + 1):  # the first one warms up
                prompts = random_ids(job, concurrent + 100 * i, PROMPT)[:concurrent]
                bodies = [{**common, "prompt": ids, "max_tokens": tokens} for ids in prompts]
                start = time.monotonic()
                await asyncio.gather(*(ask(client, url, body) for body in bodies))
                taken.append(time.monotonic() - start)
            return median(taken[1:])

        first, whole = await seconds(1, 1), await seconds(1, TOKENS + 1)
        found = {"ms_to_first_token": 1000 * first, "ms_per_token": 1000 * (whole - first) / TOKENS}
        return found | {f"tokens_per_second_at_{n}": n * TOKENS / await seconds(n, TOKENS) for n in CONCURRENT}


async def ask(client: httpx.AsyncClient, url: str, body: Finding) -> None:
    """Ask vLLM to continue a prompt.

    Raises:
        ServerFailed: vLLM answers with an error.
        BadAnswer: vLLM wrote fewer tokens than requested.
    """
    answer = await client.post(f"{url}/completions", json=body)
    if answer.status_code != httpx.codes.OK:
        raise ServerFailed(f"vLLM answers {answer.status_code}: {answer.text[:200]}")
    if (written := answer.json()["usage"]["completion_tokens"]) != body["max_tokens"]:
        raise BadAnswer(f"vLLM wrote {written} tokens instead of {body['max_tokens']}.")


def roofline(job: Job, host: Finding, measured: float) -> Finding:
    """Compare ms per token with the time to read the weights from GPU memory once; the KV cache is excluded."""
    size = job.shape.bytes_per_token(job.layers, SERVED[Part(job.part)])
    ideal = size / host["bandwidth_gb_per_second"] / 1e6
    return {
        "gb_read_per_token": size / 1e9,
        "roofline_ms_per_token": ideal,
        "roofline_from": f"{host['bandwidth_gb_per_second']:.0f} GB/s, {host['bandwidth_source']}",
        "percent_of_roofline": 100 * ideal / measured,
    }


def show(title: str, found: Finding) -> None:
    """Print a table of the findings."""
    results = found.get("results") or {found["status"]: found["reason"]}
    show_table(
        title, [["measured", "value"], *[[key.replace("_", " "), text(value)] for key, value in results.items()]]
    )


def text(value: Any) -> str:
    """Return a value with three significant digits, or whole from 1000 on."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return "–" if value is None else str(value)


WORKERS: dict[str, Callable[[Job], Finding]] = {
    "machine": machine,
    Part.QLORA: qlora,
    Part.FOLD: fold_part,
    Part.AWQ: awq_part,
    Part.DECODE: decode,
    Part.DECODE_BF16: decode,
}

if __name__ == "__main__":
    run_app(lambda: typer.run(main))
