"""The contenders: the original's server, our ideas one by one, and llama.cpp, which a user might pick instead.

All get the same readings, adapter, prompt and sampling; llama.cpp serves the merged weights.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import httpx
import psutil

from benchmarks.gateway import stack
from benchmarks.scene import SCENE, gateway_body
from benchmarks.speed.llama_cpp import check_prompt, llama_server, write_gguf
from benchmarks.speed.load import Post
from core.prompt import STOP_MARKERS, build_messages
from core.reading import Reading
from pipeline.budget import read_budget
from pipeline.recipe import Recipe
from serve.launch import Variant, prepare
from serve.process import ModelServer
from serve.settings import ServeSettings

CHAT = "/v1/chat/completions"
ORIGINAL = "/generate/temperature"


class OriginalServer(ModelServer):
    """A process that answers the original's API."""

    def answers(self, timeout: float = 5.0) -> bool:
        """Ask for a message."""
        body = {"yesterday_temp": 10, "today_temp": 20}
        try:
            answer = httpx.post(self.url.removesuffix("/v1") + ORIGINAL, json=body, timeout=timeout, trust_env=False)
            return answer.status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


class LlamaServer(ModelServer):
    """llama.cpp's server; it must read the prompt as the model was trained on it."""

    checkpoint = Path()

    def start(self) -> None:
        """Start the server and prove its prompt."""
        super().start()
        check_prompt(self.url.removesuffix("/v1"), self.checkpoint)


class Server(Protocol):
    """A contender's server: a context that lasts as long as its processes."""

    url: str
    start_seconds: float  # to the first real answer

    def __enter__(self) -> Any: ...
    def __exit__(self, *error: Any) -> None: ...

    def processes(self) -> list[psutil.Process]:
        """Return its living processes."""


class BehindGateway:
    """vLLM behind our gateway, as callers from outside see it."""

    def __init__(self, recipe: Recipe) -> None:
        self.url, self.start_seconds, self._stack = "", 0.0, stack(recipe)

    def __enter__(self) -> "BehindGateway":
        begin = time.perf_counter()
        self._vllm, self._gateway = self._stack.__enter__()
        self.url, self.start_seconds = f"{self._gateway.url}/v1", time.perf_counter() - begin
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def processes(self) -> list[psutil.Process]:
        """Return vLLM's processes and the gateway's."""
        return [*self._vllm.processes(), psutil.Process(self._gateway.pid)]


@dataclass(frozen=True)
class Contender:
    """A server, its difference from another contender, and its API."""

    name: str
    what: str
    path: str
    make: Callable[[Recipe, int], Server]
    body: dict[str, Any] = field(default_factory=dict)  # added to the common fields
    penalty: str = "repetition_penalty"  # the server's name of the setting
    over: str | None = None  # the contender from which it differs by one idea

    def post(self, client: aiohttp.ClientSession, url: str, recipe: Recipe) -> Post:
        """Return a function that asks the server for one message."""
        address = url.removesuffix("/v1") + self.path
        return self._original(client, address) if self.path == ORIGINAL else self._chat(client, address, recipe)

    def common(self, recipe: Recipe) -> dict[str, Any]:
        """Return the common fields of chat requests: the recipe's sampling, under this server's names."""
        chosen = recipe.generation
        tokens = chosen.max_new_tokens or read_budget(recipe.folder / "merged").message
        sampling = {"temperature": chosen.temperature, "top_p": chosen.top_p, "stop": list(STOP_MARKERS)}
        penalty = {self.penalty: chosen.repetition_penalty}
        return {"model": recipe.serve.model_name, "max_tokens": tokens, **sampling, **penalty, **self.body}

    def _chat(self, client: aiohttp.ClientSession, address: str, recipe: Recipe) -> Post:
        common = self.common(recipe)

        async def post(reading: Reading) -> str:
            async with client.post(address, json=common | {"messages": build_messages(reading, SCENE)}) as answer:
                answer.raise_for_status()
                choice = (await answer.json())["choices"][0]
            if choice["finish_reason"] != "stop":
                return ""  # cut off: judged as wrong
            return str(choice["message"]["content"]).strip()

        return post

    def _original(self, client: aiohttp.ClientSession, address: str) -> Post:
        async def post(reading: Reading) -> str:
            async with client.post(address, json=gateway_body(reading)) as answer:
                answer.raise_for_status()
                return str((await answer.json())["generated_text"])

        return post


def original(*options: str) -> Callable[[Recipe, int], ModelServer]:
    """Return a maker of the original's server with some of its options."""

    def make(recipe: Recipe, port: int) -> ModelServer:
        command = [
            sys.executable,
            "-m",
            "benchmarks.baseline_server",
            f"--port={port}",
            f"--set=name={recipe.name}",
            *(f"--set=generation.{key}={getattr(recipe.generation, key)}" for key in SAMPLING),
            *options,
        ]
        return OriginalServer(*_rest(command, recipe, port))

    return make


def vllm(variant: Variant, *flags: str, drafting: bool = False) -> Callable[[Recipe, int], ModelServer]:
    """Return a maker of our server on a variant, with drafts or without; flags are added to the recipe's."""

    def make(recipe: Recipe, port: int) -> ModelServer:
        serve = recipe.serve.model_copy(update={"drafting": drafting})
        chosen = recipe.model_copy(update={"serve": serve})
        server = prepare(chosen, ServeSettings(port=port, allow_failed_verdict=True), variant).server
        server.command.extend(flags)
        return server

    return make


def llama_cpp(kind: str) -> Callable[[Recipe, int], ModelServer]:
    """Return a maker of llama.cpp's server with the merged weights as `kind` of GGUF."""

    def make(recipe: Recipe, port: int) -> ModelServer:
        weights = write_gguf(recipe, kind)
        server = LlamaServer(*_rest(llama_server(weights, recipe, port), recipe, port))
        server.checkpoint = recipe.folder / "merged"
        return server

    return make


def _rest(command: list[str], recipe: Recipe, port: int) -> tuple[Any, ...]:
    log = recipe.folder / f"serve-{port}.log"
    return command, dict(os.environ), recipe.serve.model_name, ServeSettings(port=port), log


SAMPLING = ("temperature", "top_p", "repetition_penalty")
# llama.cpp's defaults would sample differently, and would apply top_p before temperature.
LLAMA = {"top_k": 0, "min_p": 0, "samplers": ["penalties", "temperature", "top_p"], "repeat_last_n": 512}

CONTENDERS = (
    Contender(
        "original-nf4",
        "the original: transformers, adapter beside an NF4 base, 50 tokens, cut at the marker",
        ORIGINAL,
        original("--quantization=4bit"),
    ),
    Contender("original", "the same in bf16", ORIGINAL, original(), over="original-nf4"),
    Contender("stop", "+ stop at the end-of-turn token", ORIGINAL, original("--stop"), over="original"),
    Contender("stop-merged", "+ adapter folded in", ORIGINAL, original("--stop", "--merged"), over="stop"),
    Contender("vllm-adapter", "vLLM, base + adapter", CHAT, vllm(Variant.ADAPTER), over="stop"),
    Contender("vllm-merged", "vLLM, adapter folded in", CHAT, vllm(Variant.MERGED), over="vllm-adapter"),
    Contender(
        "vllm-awq-no-prefix", "vLLM, AWQ, no prefix cache", CHAT, vllm(Variant.AWQ, "--no-enable-prefix-caching")
    ),
    Contender("vllm-awq", "**the line**: vLLM, AWQ, prefix cache", CHAT, vllm(Variant.AWQ), over="vllm-merged"),
    Contender("vllm-awq-drafts", "the line with drafts", CHAT, vllm(Variant.AWQ, drafting=True), over="vllm-awq"),
    Contender(
        "gateway", "the line behind our gateway", ORIGINAL, lambda recipe, _port: BehindGateway(recipe), over="vllm-awq"
    ),
    Contender("llama.cpp-f16", "llama.cpp, the merged weights in F16", CHAT, llama_cpp("F16"), LLAMA, "repeat_penalty"),
    Contender(
        "llama.cpp-q4",
        "llama.cpp, the merged weights in Q4_0",
        CHAT,
        llama_cpp("Q4_0"),
        LLAMA,
        "repeat_penalty",
        over="llama.cpp-f16",
    ),
)
