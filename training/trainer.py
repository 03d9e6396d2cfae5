"""Shared by SFT and DPO around TRL's trainers: the base, common arguments, progress, errors, the adapter's files."""

import ctypes
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
import trl.trainer.utils
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, ProgressCallback

from core.errors import StageError
from core.prompt import PROMPT_FILE
from pipeline.files import write_text
from pipeline.recipe import DpoSection, Recipe, TrainSection
from training.plot import draw_loss

CHECKPOINTS = "checkpoints"
BACKWARD = 2  # times the cost of reading
SHORT = 100  # seconds
# glibc's mallopt, parameter and bytes
KEEP_FREED = (
    (-3, 1 << 30),  # M_MMAP_THRESHOLD: blocks of up to a GiB come from the heap, not from mappings of their own
    (-1, (1 << 31) - 1),  # M_TRIM_THRESHOLD: up to 2 GiB at the heap's end are kept
    (-2, 1 << 28),  # M_TOP_PAD: the heap grows by 256 MiB
)
KEPT = ("adapter_config.json", "adapter_model.safetensors", PROMPT_FILE)


def load_base(folder: Path, recipe: Recipe) -> Any:
    """Load the base model for training: NF4 if the recipe says so, else bf16 or fp32.

    The adapter's own weights are fp32 in any case.
    """
    dtype = torch.bfloat16 if in_bf16(recipe.train) else torch.float32
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=nf4 if recipe.train.load_in_4bit else None,
        device_map="auto" if torch.cuda.is_available() else None,
        attn_implementation=attention(recipe.train),
        local_files_only=True,
    )
    for module in model.modules():
        # On a CPU, bitsandbytes permanently repacks a weight when evaluation first uses it, and the packed kernel has
        # no backward: every gradient after the first evaluation would silently be zero.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def in_bf16(section: TrainSection) -> bool:
    """Return whether matrices are multiplied in bf16: on a GPU always, on a CPU if the recipe says so."""
    if torch.cuda.is_available():
        return True
    if section.bf16 is not None:
        return section.bf16
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def attention(section: TrainSection) -> Literal["eager"] | None:
    """Return the attention that learns fastest from packed rows: on a CPU the plain one, else transformers' choice.

    torch's fused kernel for CPUs is slow for a mask that is not triangular (docs/LOG.md).
    """
    return "eager" if section.pack and not torch.cuda.is_available() else None


def common_arguments(recipe: Recipe, section: TrainSection | DpoSection, folder: Path, rows: int) -> dict[str, Any]:
    """Return the arguments that SFTConfig and DPOConfig share, from their section of the recipe."""
    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "num_train_epochs": section.epochs,
        "per_device_train_batch_size": section.batch_size,
        "per_device_eval_batch_size": section.batch_size,
        "gradient_accumulation_steps": section.gradient_accumulation,
        "learning_rate": section.learning_rate,
        "max_length": section.max_length,
        "gradient_checkpointing": recipe.train.gradient_checkpointing,
        "use_cpu": not cuda,
        "bf16": in_bf16(recipe.train),
        "logging_steps": max(1, optimizer_steps(section, rows) // 50),
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "report_to": "none",
        "disable_tqdm": False,  # by default it follows the verbosity of transformers' log
    }


def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next one: else each step faults gigabytes in, page by page."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc has it
        for parameter, size in KEEP_FREED:
            mallopt(parameter, size)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def score_learned_tokens_only() -> None:
    """Let TRL's fused head compute only what is learned on a CPU too, as it does on a GPU.

    Over all of a long prompt, a large vocabulary takes as long as the rest of the model. TRL asks this function
    only there, about tile shapes that would change; a CPU compiles none.
    """
    trl.trainer.utils._use_triton = lambda _device: True


def optimizer_steps(section: TrainSection | DpoSection, rows: int) -> int:
    """Return how many optimizer steps a training takes, about."""
    return max(1, int(rows * section.epochs / (section.batch_size * section.gradient_accumulation)))


def forecast(forward: float, section: TrainSection) -> str:
    """Return how long a training will take, from the seconds that only reading its rows would take.

    A step reads its rows, and goes back through the model at twice that cost; checkpointed, it reads them twice.
    """
    seconds = forward * (BACKWARD + (2 if section.gradient_checkpointing else 1))
    return f"about {seconds / 60:.0f} minutes" if seconds > SHORT else f"about {seconds:.0f} seconds"


def show_progress_only(trainer: Any) -> None:
    """Give a trainer the progress bar without a line of numbers every few steps."""
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(Bar)


class Bar(ProgressCallback):
    """The trainer's progress bar without a line of numbers every few steps: they are in log.json and loss.png."""

    def on_log(self, *_arguments: Any, **_options: Any) -> None:
        """Print nothing."""


def cut_after_turn(ids: list[int], end: int) -> list[int]:
    """Cut everything after the last end-of-turn token, such as a template's line break: the server stops there."""
    return ids[: len(ids) - ids[::-1].index(end)]


@contextmanager
def out_of_memory_advice() -> Iterator[None]:
    """Turn torch's out-of-memory errors, GPU and CPU, into one that says what to change."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator raises a plain one
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise StageError(
            "Training ran out of memory.",
            "Set train.batch_size=1 and train.gradient_accumulation=2, then train.gradient_checkpointing=true; "
            "on a GPU also train.load_in_4bit=true.",
        ) from error


def refuse_diverged(before: float, after: float, folder: Path, section: str) -> None:
    """Refuse a training that did not lower the validation loss.

    Raises:
        StageError: the loss is not finite, or not lower than before the first step.
    """
    if not (math.isfinite(after) and after < before):
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)  # or --resume would go on from there
        raise StageError(
            f"The training diverged: its validation loss went from {before:.4g} to {after:.4g}.",
            f"Lower {section}.learning_rate, or check the rows; nothing was published.",
        )


def open_head(model: Any) -> None:
    """Give the head the bias that TRL's fused loss reads: PEFT's wrapper for new tokens exposes only the weight."""
    head = model.get_output_embeddings()
    if not hasattr(head, "bias"):
        head.bias = None


def write_log(trainer: Any, folder: Path, title: str) -> None:
    """Write the loss history and its curve."""
    history = [without_times(entry) for entry in trainer.state.log_history]
    write_text(folder / "log.json", json.dumps(history, indent=1))
    draw_loss(history, folder / "loss.png", title=title)


def without_times(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop wall-clock figures, so that the same seed gives the same artefact, id included."""
    return {key: value for key, value in entry.items() if not key.endswith(("_runtime", "_per_second", "_time"))}


def tidy(folder: Path, *also: str) -> None:
    """Keep only the adapter and the files in `also`: the tokenizer is the base's, training_args.bin a pickle.

    PEFT writes its set of target modules in random order; sorted, the same seed gives the same file.
    """
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["target_modules"] = sorted(config["target_modules"])
    write_text(folder / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True))
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (*KEPT, *also):
            path.unlink()
