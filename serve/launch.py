"""From a recipe to a server: which checkpoint, which flags, all checks first."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from data.artefact import verify
from data.errors import GateError, ServiceError
from data.gate import check_gate
from data.prompt import PROMPT_FILE
from data.recipe import Recipe
from serve.flags import (
    eight_bit_flags,
    fingerprint_flags,
    generation_flags,
    lora_flags,
    on_cpu,
    vllm_command,
    vllm_environment,
    vllm_flags,
)
from serve.preflight import check_memory, check_port, choose_checkpoint
from serve.server import VllmServer
from serve.settings import ServeSettings

UNCOMPILED = "No C++ compiler or no Python headers here: the model runs uncompiled, so slower (g++, python3-dev)."


class Rung(StrEnum):
    """What to serve: the end of the line, or a step on the way, for comparison."""

    AWQ = "awq"
    EIGHT_BIT = "8bit"  # the merged checkpoint, its weights quantized by vLLM while it loads them
    MERGED = "merged"
    ADAPTER = "adapter"  # base + adapter, unmerged
    BASE = "base"


def prepare(
    recipe: Recipe,
    settings: ServeSettings,
    rung: Rung = Rung.AWQ,
    *,
    full: bool = False,
    on_wait: Callable[[float, str], None] | None = None,
) -> tuple[VllmServer, Path, str]:
    """Return a server that is ready to start, its checkpoint, and a note for the operator (empty if all is usual).

    Raises:
        ArtefactError: the checkpoint is missing or does not verify.
        GateError: the 4-bit checkpoint did not pass the gate.
        ServiceError: the port is taken or memory is short.
    """
    cpu = on_cpu()
    checkpoint, note, extra = _checkpoint(recipe, rung, cpu=cpu, full=full)
    notes = [note]
    if rung is Rung.AWQ:
        notes.append(_ungated(recipe, allowed=settings.allow_failed_gate))
    check_port(settings.host, settings.port)
    if cpu:
        check_memory(recipe, checkpoint)
    flags = vllm_flags(recipe, checkpoint, settings.host, settings.port, cpu=cpu) + extra
    if "--enforce-eager" in flags and not recipe.serve.enforce_eager:
        notes.append(UNCOMPILED)
    server = VllmServer(
        vllm_command(flags),
        vllm_environment(recipe, cpu=cpu),
        recipe.serve.model_name,
        settings,
        recipe.run / f"serve-{settings.port}.log",
        on_wait,
    )
    return server, checkpoint, " ".join(filter(None, notes))


def wanted_rung(settings: ServeSettings, recipe: Recipe) -> Rung:
    """Return what the original's settings ask for.

    Raises:
        ServiceError: they ask for something that cannot be had here.
    """
    if not settings.use_chat_format:
        raise ServiceError(
            "USE_CHAT_FORMAT=false cannot be had: without its chat format the model writes labels again.",
            "Remove the key; the checkpoint carries its template.",
        )
    adapter = recipe.adapter
    if settings.adapter_path and settings.adapter_path.resolve() != adapter.resolve():
        raise ServiceError(
            f"ADAPTER_PATH={settings.adapter_path} is not what is served: the adapter is folded in before.",
            f"Remove the key; train {adapter} and fold it in with `make train merge`.",
        )
    if not settings.use_finetuned:
        return Rung.BASE
    return {"4bit": Rung.AWQ, "8bit": Rung.EIGHT_BIT, "none": Rung.MERGED}[settings.quantization]


def _ungated(recipe: Recipe, *, allowed: bool) -> str:
    """Return what the operator must know of a checkpoint that did not pass the gate.

    Raises:
        GateError: it did not, and that is not allowed.
    """
    try:
        check_gate(recipe.run)
    except GateError as error:
        if not allowed:
            raise
        return f"{error.what} Served all the same, as asked."
    return ""


def _checkpoint(recipe: Recipe, rung: Rung, *, cpu: bool, full: bool) -> tuple[Path, str, list[str]]:
    if rung in (Rung.BASE, Rung.ADAPTER):
        return recipe.run / "base", "", _unmerged(recipe, rung, full=full)
    extra = eight_bit_flags(cpu=cpu) if rung is Rung.EIGHT_BIT else []
    folder, note = recipe.run / "merged", ""
    if rung is Rung.AWQ:
        folder, note = choose_checkpoint(recipe, cpu=cpu, full=full)
    else:
        verify(folder, full=full)
    return folder, note, extra + fingerprint_flags(folder / PROMPT_FILE)


def _unmerged(recipe: Recipe, rung: Rung, *, full: bool) -> list[str]:
    verify(recipe.run / "base", full=full)
    if rung is Rung.BASE:
        return generation_flags(recipe)
    adapter = recipe.adapter
    verify(adapter, full=full)
    return generation_flags(recipe) + lora_flags(recipe, adapter) + fingerprint_flags(adapter / PROMPT_FILE)
