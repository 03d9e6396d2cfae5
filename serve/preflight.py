"""Checks before vLLM starts: the checkpoint, the CPU's instructions, the compiler, the memory."""

import os
import shutil
import sysconfig
from pathlib import Path

import psutil

from core.errors import ServiceError
from pipeline.budget import cache_bytes
from pipeline.manifest import verify
from pipeline.recipe import Recipe

GIB = 2**30
# vLLM's processes took 2.5 GiB in all with the nano model (docs/LOG.md); rounded up, bytes.
CPU_OVERHEAD = 3 * GIB


def choose_checkpoint(recipe: Recipe, *, cpu: bool, full: bool = False) -> tuple[Path, str]:
    """Return the verified checkpoint to serve, and a note if it is not the 4-bit one.

    Raises:
        ArtefactError: the checkpoint is missing, incomplete or altered.
    """
    if cpu and not has_avx512():
        folder, note = (
            recipe.folder / "merged",
            "This CPU has no AVX-512, which AWQ needs here: serving the 16-bit checkpoint.",
        )
    else:
        folder, note = recipe.folder / "awq", ""
    verify(folder, full=full)
    return folder, note


def has_avx512(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the CPU has the AVX-512 instructions of vLLM's 4-bit kernel."""
    try:
        return "avx512f" in cpuinfo.read_text()
    except OSError:
        return False


def can_compile() -> bool:
    """Return whether torch can compile for the CPU: a C++ compiler and Python's headers are installed."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return shutil.which(os.environ.get("CXX", "g++")) is not None and headers.exists()


def kv_cache(recipe: Recipe, checkpoint: Path, context: int) -> int:
    """Return the size of the KV cache on a CPU, bytes: the recipe's, or what its sequences need at full length."""
    if recipe.serve.kv_cache_gib is not None:
        return int(recipe.serve.kv_cache_gib * GIB)
    return cache_bytes(checkpoint, context, recipe.serve.max_num_seqs)


def check_memory(
    recipe: Recipe, checkpoint: Path, context: int, available: int | None = None, *, servers: int = 1
) -> None:
    """Check that weights, KV cache and vLLM itself fit in the free memory, once for each server (CPU only).

    Raises:
        ServiceError: too little memory is free.
    """
    free = psutil.virtual_memory().available if available is None else available
    weights = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    needed = servers * (weights + kv_cache(recipe, checkpoint, context) + CPU_OVERHEAD)
    if free < needed:
        raise ServiceError(
            f"Serving {checkpoint} needs about {needed / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free.",
            "Stop other programs, or lower serve.kv_cache_gib, serve.max_num_seqs or SIGNBOARD_SERVERS.",
        )
