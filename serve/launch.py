"""From a recipe to a server: which checkpoint, which flags, all checks first."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from data.artefact import verify
from data.recipe import Recipe
from serve.flags import generation_flags, lora_flags, on_cpu, vllm_command, vllm_environment, vllm_flags
from serve.preflight import check_memory, check_port, choose_checkpoint
from serve.server import VllmServer
from serve.settings import ServeSettings


class Rung(StrEnum):
    """What to serve: the end of the line, or a step on the way, for comparison."""

    AWQ = "awq"
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
        ServiceError: the port is taken or memory is short.
    """
    cpu = on_cpu()
    checkpoint, note, extra = _checkpoint(recipe, rung, cpu=cpu, full=full)
    check_port(settings.host, settings.port)
    if cpu:
        check_memory(recipe, checkpoint)
    flags = vllm_flags(recipe, checkpoint, settings.host, settings.port, cpu=cpu) + extra
    server = VllmServer(
        vllm_command(flags),
        vllm_environment(recipe, cpu=cpu),
        recipe.serve.model_name,
        settings,
        recipe.run / f"serve-{settings.port}.log",
        on_wait,
    )
    return server, checkpoint, note


def _checkpoint(recipe: Recipe, rung: Rung, *, cpu: bool, full: bool) -> tuple[Path, str, list[str]]:
    if rung is Rung.AWQ:
        return *choose_checkpoint(recipe, cpu=cpu, full=full), []
    verify(recipe.run / rung, full=full)
    if rung is Rung.MERGED:
        return recipe.run / "merged", "", []
    base = recipe.run / "base"
    verify(base, full=full)
    extra = generation_flags(recipe)
    if rung is Rung.ADAPTER:
        extra += lora_flags(recipe, recipe.run / "adapter")
    return base, "", extra
