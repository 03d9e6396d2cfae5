"""Serve a variant of a run while it is evaluated."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from core.errors import ServiceError
from core.ports import free_port
from pipeline.cli import console
from pipeline.recipe import Recipe
from serve.launch import Variant, prepare
from serve.process import ModelServer
from serve.settings import read_settings


@contextmanager
def served(recipe: Recipe, variant: Variant) -> Iterator[ModelServer]:
    """Serve a variant on a free port of loopback.

    A failed or missing verdict or signature is ignored: both come after the evaluation.

    Raises:
        ArtefactError: the variant was not built, or does not verify.
        ServiceError: the server did not start.
    """
    settings = read_settings(host="127.0.0.1", port=free_port(), allow_failed_verdict=True)
    settings = settings.model_copy(update={"public_key": None})
    with ExitStack() as stack:
        with console.status(f"{recipe.name}: vLLM starts on {variant}"):
            ready = prepare(recipe, settings, variant)
            if variant is Variant.AWQ and ready.checkpoint.name != Variant.AWQ:
                raise ServiceError(f"The 4-bit checkpoint cannot be judged here. {ready.note}", "Use another machine.")
            server = stack.enter_context(ready.server)
        yield server
