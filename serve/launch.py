"""From a recipe to a server: run all checks, choose checkpoint and flags."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.errors import SettingError, VerdictError
from core.ports import check_port
from core.prompt import PROMPT_FILE
from pipeline.budget import Budget, context_length, read_budget
from pipeline.drafts import DRAFTS_FILE
from pipeline.manifest import verify
from pipeline.recipe import Recipe
from pipeline.signature import check_signature
from pipeline.verdict import check_verdict
from serve.flags import (
    drafting_flags,
    eight_bit_flags,
    fingerprint_flags,
    generation_flags,
    gpus,
    lora_flags,
    name_flags,
    on_cpu,
    trained_prompt,
    vllm_command,
    vllm_environment,
    vllm_flags,
)
from serve.preflight import check_memory, choose_checkpoint
from serve.process import ModelServer
from serve.settings import ServeSettings

UNDRAFTED = "The checkpoint has no table of drafts: served without. `make merge` writes one."
UNCOMPILED = "No C++ compiler or no Python headers here: the model runs uncompiled and slower (g++, python3-dev)."


class Variant(StrEnum):
    """The variant to serve: the final checkpoint or, for comparison, an earlier step."""

    AWQ = "awq"
    EIGHT_BIT = "8bit"  # the merged checkpoint, which vLLM quantizes while loading it
    MERGED = "merged"
    ADAPTER = "adapter"  # base + adapter, unmerged
    BASE = "base"


UNMERGED = (Variant.ADAPTER, Variant.BASE)  # they have no table of drafts


@dataclass(frozen=True, slots=True)
class Prepared:
    """A server that is ready to start, its checkpoint, and a note for the operator (empty: nothing to note)."""

    server: ModelServer
    checkpoint: Path
    note: str
    prompt: str | None = None  # the name of the prompt on which it was trained; None: the variant is served without


def prepare(
    recipe: Recipe,
    settings: ServeSettings,
    variant: Variant = Variant.AWQ,
    *,
    full: bool = False,
    on_wait: Callable[[float, str], None] | None = None,
    gpu: str | None = None,
) -> "Prepared":
    """Check everything that can be checked before vLLM starts; return a server that is ready to start.

    `gpu` is the one that it may use; None: all.

    Raises:
        ArtefactError: the checkpoint is missing or does not verify; a `SignatureError`, where a public key is set.
        VerdictError: the 4-bit checkpoint failed its verdict, or has none.
        ServiceError: the port is taken or memory is short.
    """
    cpu = on_cpu()
    checkpoint, note, extra = _checkpoint(recipe, variant, cpu=cpu, full=full)
    if settings.public_key:
        for folder in _loaded(recipe, variant, checkpoint):
            check_signature(folder, settings.public_key)
    notes = [note]
    if variant is Variant.AWQ:
        notes.append(verdict_note(recipe, allowed=settings.allow_failed_verdict))
    check_port(settings.host, settings.port)
    context = context_length(checkpoint, _budget(recipe, variant, checkpoint), recipe.serve.max_model_len)
    if cpu:
        check_memory(recipe, checkpoint, context, servers=settings.servers)
    address = (settings.host, settings.port)
    flags = vllm_flags(recipe, checkpoint, context, *address, cpu=cpu, traces=settings.traces) + extra
    prompt = None if variant in UNMERGED else trained_prompt(checkpoint / PROMPT_FILE)
    flags += name_flags(recipe, prompt) if prompt else []
    if recipe.serve.drafting:
        drafts = (checkpoint / DRAFTS_FILE).is_file()
        flags += drafting_flags(recipe) if drafts else []
        notes += [] if drafts or variant in UNMERGED else [UNDRAFTED]
    if "--enforce-eager" in flags and not recipe.serve.enforce_eager:
        notes.append(UNCOMPILED)
    server = ModelServer(
        vllm_command(flags),
        vllm_environment(recipe, cpu=cpu, compiled=settings.compiled, gpu=gpu),
        recipe.serve.model_name,
        settings,
        recipe.folder / f"serve-{settings.port}.log",
        on_wait,
    )
    return Prepared(server, checkpoint, " ".join(filter(None, notes)), prompt)


def prepare_all(recipe: Recipe, settings: ServeSettings, variant: Variant, *, full: bool = False) -> list[Prepared]:
    """Return `settings.servers` servers of one checkpoint, on ports in a row, each with its own GPU.

    Raises:
        SignboardError: as `prepare`, or there are fewer GPUs than servers.
    """
    count = settings.servers
    if count == 1:
        return [prepare(recipe, settings, variant, full=full)]
    cards = gpus(count, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return [
        prepare(
            recipe,
            settings.model_copy(update={"port": settings.port + place}),
            variant,
            full=full and place == 0,  # the checkpoint is the same
            gpu=cards[place],
        )
        for place in range(count)
    ]


def wanted_variant(settings: ServeSettings, recipe: Recipe) -> Variant:
    """Return the variant that the original's settings select.

    Raises:
        SettingError: a setting has a value that is not supported here.
    """
    if not settings.use_chat_format:
        raise SettingError(
            "USE_CHAT_FORMAT=false is not supported: without its chat format the model writes labels again.",
            "Remove the key; the checkpoint carries its template.",
        )
    adapter = recipe.adapter
    if settings.adapter_path and settings.adapter_path.resolve() != adapter.resolve():
        raise SettingError(
            f"ADAPTER_PATH={settings.adapter_path} cannot be served: the adapter is folded in before serving.",
            f"Remove the key; train {adapter} and fold it in with `make train merge`.",
        )
    if not settings.use_finetuned:
        return Variant.BASE
    return {"4bit": Variant.AWQ, "8bit": Variant.EIGHT_BIT, "none": Variant.MERGED}[settings.quantization]


def verdict_note(recipe: Recipe, *, allowed: bool) -> str:
    """Return a warning for the operator if the checkpoint failed its verdict or has none, else an empty text.

    Raises:
        VerdictError: it failed or has none, and that is not allowed.
    """
    try:
        check_verdict(recipe.folder)
    except VerdictError as error:
        if not allowed:
            raise
        return f"{error.what} Served anyway, as requested."
    return ""


def _checkpoint(recipe: Recipe, variant: Variant, *, cpu: bool, full: bool) -> tuple[Path, str, list[str]]:
    if variant in UNMERGED:
        return recipe.folder / "base", "", _unmerged(recipe, variant, full=full)
    extra = eight_bit_flags(cpu=cpu) if variant is Variant.EIGHT_BIT else []
    folder, note = recipe.folder / "merged", ""
    if variant is Variant.AWQ:
        folder, note = choose_checkpoint(recipe, cpu=cpu, full=full)
    else:
        verify(folder, full=full)
    return folder, note, extra + fingerprint_flags(folder / PROMPT_FILE)


def _loaded(recipe: Recipe, variant: Variant, checkpoint: Path) -> list[Path]:
    """Return every artefact whose weights vLLM loads."""
    return [checkpoint, recipe.adapter] if variant is Variant.ADAPTER else [checkpoint]


def _budget(recipe: Recipe, variant: Variant, checkpoint: Path) -> Budget:
    """Return the tokens that prompts and messages take; a base alone does not know them, its adapter does."""
    return read_budget(recipe.adapter if variant in UNMERGED else checkpoint)


def _unmerged(recipe: Recipe, variant: Variant, *, full: bool) -> list[str]:
    verify(recipe.folder / "base", full=full)
    if variant is Variant.BASE:
        return generation_flags(recipe, read_budget(recipe.adapter).message)
    adapter = recipe.adapter
    verify(adapter, full=full)
    return (
        generation_flags(recipe, read_budget(recipe.adapter).message)
        + lora_flags(recipe, adapter)
        + fingerprint_flags(adapter / PROMPT_FILE)
    )
