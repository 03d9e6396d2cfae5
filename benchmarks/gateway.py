"""The gateway before a real vLLM: its cost, its behaviour under faults, its memory under load.

Usage: python -m benchmarks.gateway cost | faults | soak [--recipe recipes/nano.yaml]
In: a finished run. Out: tables on stdout, details in runs/<recipe>/gateway-<name>.json. Exit code 1 if an unchecked or
partial message, an untyped error or a late answer was seen. Everything listens on free ports of loopback.
"""

import asyncio
import json
import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import typer

from benchmarks.flaky_proxy import FlakyProxy, Mode
from benchmarks.scene import SCENE, gateway_body
from core.checks import check_message
from core.errors import ServiceError, SignboardError
from core.park import Scene
from core.ports import free_port
from core.prompt import STOP_MARKERS, build_messages
from core.reading import Reading, usual_grid
from gateway.problems import KINDS
from gateway.settings import GatewaySettings
from pipeline.cli import DEFAULT_RECIPE, console, new_app, run_app, show_table
from pipeline.files import write_text
from pipeline.recipe import Recipe, ServeSection, load_recipe
from serve.launch import prepare
from serve.process import ModelServer
from serve.settings import ServeSettings
from serve.supervisor import GatewayProcess

RecipeOption = Annotated[Path, typer.Option(help="A finished run.")]
RATE = {"SIGNBOARD_GATEWAY_RATE_LIMIT": "1000000/minute"}
LATE = 1.0  # seconds after the deadline at which an answer counts as late: 32 callers and vLLM share two cores
app = new_app("Measure the gateway.")


@contextmanager
def stack(recipe: Recipe, through: int | None = None, **variables: str) -> Iterator[tuple[ModelServer, GatewayProcess]]:
    """Serve the recipe with a gateway before it; `through`: the port of a proxy between them."""
    database = {"SIGNBOARD_GATEWAY_DATABASE": f"sqlite:///{recipe.folder / 'gateway-benchmark.db'}"}
    os.environ.update(RATE | database | variables)
    vllm = prepare(recipe, ServeSettings(port=free_port())).server
    port = through or int(vllm.url.split(":")[2].split("/")[0])
    with vllm:
        settings = GatewaySettings(port=free_port())
        with GatewayProcess(
            settings, f"http://127.0.0.1:{port}/v1", recipe.serve, recipe.folder / "gateway-benchmark.log"
        ) as gateway:
            for _ in range(600):
                if _healthy(gateway.url):
                    break
                time.sleep(0.1)
            else:
                raise ServiceError("The gateway did not become ready within a minute.", f"See {gateway.log}.")
            yield vllm, gateway


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=10).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def readings(count: int, seed: int) -> list[Reading]:
    """Return usual readings in random order."""
    return random.Random(seed).choices(list(usual_grid()), k=count)


@asynccontextmanager
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Open the load generator's connections."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False) as client:
        yield client


Ask = Callable[[Reading], Awaitable[None]]


@app.command()
def cost(
    recipe: RecipeOption = DEFAULT_RECIPE,
    rounds: Annotated[int, typer.Option(help="Rounds of each, interleaved.")] = 5,
) -> None:
    """Ask vLLM itself and the gateway in turn: one request at a time, and 32 at once."""
    found = load_recipe(recipe)
    with stack(found) as (vllm, gateway):
        result = asyncio.run(_cost(vllm.url, gateway.url, rounds))
    write_text(found.folder / "gateway-cost.json", json.dumps(result, indent=2))
    one, many = result["p50_ms"], result["per_second"]
    rows = [["", "vLLM", "through the gateway", "difference"]]
    rows.append(["p50 of one at a time, ms", f"{one['vllm']:.1f}", f"{one['gateway']:.1f}", f"{one['added']:+.1f}"])
    rows.append(
        ["messages/s, 32 at once", f"{many['vllm']:.1f}", f"{many['gateway']:.1f}", f"{many['ratio']:.1%} of vLLM"]
    )
    show_table("The gateway's cost", rows)


async def _cost(vllm_url: str, gateway_url: str, rounds: int) -> dict[str, Any]:
    async with http(vllm_url.removesuffix("/v1")) as vllm, http(gateway_url) as gateway:

        async def raw(reading: Reading) -> None:
            body = {"model": "signboard", "messages": build_messages(reading, SCENE), "stop": list(STOP_MARKERS)}
            answer = await vllm.post("/v1/chat/completions", json=body)
            assert answer.status_code == httpx.codes.OK, answer.text

        async def through(reading: Reading) -> None:
            answer = await gateway.post("/generate/temperature", json=gateway_body(reading))
            assert answer.status_code == httpx.codes.OK, answer.text

        asked: dict[str, Ask] = {"vllm": raw, "gateway": through}
        for ask in asked.values():
            await _rate(ask, readings(200, 0), 32)
        seconds: dict[str, list[float]] = {name: [] for name in asked}
        for reading in readings(100 * rounds, 1):
            for name, ask in asked.items():
                begin = time.perf_counter()
                await ask(reading)
                seconds[name].append(time.perf_counter() - begin)
        rates: dict[str, list[float]] = {name: [] for name in asked}
        for number in range(rounds):
            for name, ask in asked.items():
                rates[name].append(await _rate(ask, readings(1000, 2 + number), 32))
    p50 = {name: statistics.median(values) * 1000 for name, values in seconds.items()}
    rate = {name: statistics.median(values) for name, values in rates.items()}
    ratio = statistics.median(b / a for a, b in zip(rates["vllm"], rates["gateway"], strict=True))
    return {
        "p50_ms": p50 | {"added": p50["gateway"] - p50["vllm"]},
        "per_second": rate | {"ratio": ratio},
        "rounds": rates,
    }


async def _rate(ask: Ask, wanted: list[Reading], at_once: int) -> float:
    """Return answers per second."""
    queue = iter(wanted)

    async def work() -> None:
        for reading in queue:
            await ask(reading)

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return len(wanted) / (time.perf_counter() - begin)


class Judge:
    """Counts answers by kind, and keeps the wrong ones."""

    def __init__(self, deadline: float) -> None:
        self.kinds: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest = 0.0
        self._limit = deadline + LATE

    def judge(self, reading: Reading, answer: httpx.Response, seconds: float) -> bool:
        """Count one answer; return whether it was a message."""
        self.slowest = max(self.slowest, seconds)
        kind = self._kind(reading, answer)
        self.kinds[kind] += 1
        if seconds > self._limit:
            self.wrong.append(f"late: {seconds:.1f} s, {kind}")
        return kind == "message"

    def _kind(self, reading: Reading, answer: httpx.Response) -> str:
        try:
            body = answer.json()
            if answer.status_code == httpx.codes.OK:
                problems = check_message(body["generated_text"], reading, Scene.of(body["season"], body["elements"]))
                if problems:
                    self.wrong.append(f"unchecked: {body['generated_text']!r} {problems}")
                return "message"
            assert KINDS[body["code"]][0] == answer.status_code
            return f"{answer.status_code} {body['code']}"
        except (ValueError, KeyError, AssertionError):
            self.wrong.append(f"untyped: {answer.status_code} {answer.text[:100]!r}")
            return "untyped"


async def _load(url: str, judge: Judge, wanted: Iterator[Reading], at_once: int, pause: float = 0.0) -> None:
    async with http(url) as client:

        async def work() -> None:
            for reading in wanted:
                board = f"board-{reading.today % 10}"
                body = {"yesterday_temp": reading.yesterday, "today_temp": reading.today, "board": board}
                begin = time.perf_counter()
                try:
                    answer = await client.post("/generate/temperature", json=body)
                except httpx.TransportError as error:  # allowed only while the gateway itself is down
                    judge.kinds[f"no gateway: {type(error).__name__}"] += 1
                    await asyncio.sleep(0.5)
                    continue
                good = judge.judge(reading, answer, time.perf_counter() - begin)
                await asyncio.sleep(pause if good else 0.5)  # Retry-After asks for more

        await asyncio.gather(*(work() for _ in range(at_once)))


@app.command()
def faults(
    recipe: RecipeOption = DEFAULT_RECIPE,
    requests: Annotated[int, typer.Option(help="How many, 32 at once.")] = 10_000,
) -> None:
    """Send 32 requests at once while vLLM and the connection to it fail in every way."""
    found = load_recipe(recipe)
    port, judge = free_port(), Judge(deadline=10)
    with stack_behind_proxy(found, port) as (vllm, gateway):
        recoveries = asyncio.run(_faults(vllm, gateway, port, judge, requests))
    rows = [["answer", "count"], *([kind, str(count)] for kind, count in judge.kinds.most_common())]
    show_table(f"{sum(judge.kinds.values())} answers, the slowest after {judge.slowest:.1f} s", rows)
    show_table("Until the next message", [["after", "seconds"], *([name, f"{s:.1f}"] for name, s in recoveries)])
    result = {"kinds": judge.kinds, "slowest": judge.slowest, "recoveries": recoveries, "wrong": judge.wrong}
    write_text(found.folder / "gateway-faults.json", json.dumps(result, indent=2, ensure_ascii=False))
    if judge.wrong:
        raise SignboardError(f"{len(judge.wrong)} answers were wrong, such as {judge.wrong[:3]}.")


@contextmanager
def stack_behind_proxy(recipe: Recipe, port: int) -> Iterator[tuple[ModelServer, GatewayProcess]]:
    """Serve the recipe; the gateway reaches it through `port`, where the proxy will listen."""
    os.environ.update(RATE)
    with (
        prepare(recipe, ServeSettings(port=free_port())).server as vllm,
        GatewayProcess(
            GatewaySettings(port=free_port()),
            f"http://127.0.0.1:{port}/v1",
            recipe.serve,
            recipe.folder / "gateway-benchmark.log",
        ) as gateway,
    ):
        while not _answers(gateway.url):
            time.sleep(0.1)
        yield vllm, gateway


def _answers(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/health", trust_env=False, timeout=10).status_code)
    except httpx.HTTPError:
        return False


async def _faults(
    vllm: ModelServer, gateway: GatewayProcess, port: int, judge: Judge, requests: int
) -> list[tuple[str, float]]:
    wanted = iter(readings(requests, 1))
    recoveries: list[tuple[str, float]] = []
    async with FlakyProxy(port, int(vllm.url.split(":")[2].split("/")[0])) as proxy:
        load = asyncio.create_task(_load(gateway.url, judge, wanted, 32))
        chaos = asyncio.create_task(_chaos(vllm, gateway, proxy, judge, recoveries))
        await asyncio.wait({load, chaos}, return_when=asyncio.FIRST_COMPLETED)
        if chaos.done():
            await chaos  # its errors
        await load
        chaos.cancel()
    return recoveries


async def _chaos(
    vllm: ModelServer, gateway: GatewayProcess, proxy: FlakyProxy, judge: Judge, recoveries: list[tuple[str, float]]
) -> None:
    """Break one thing after another, repeatedly."""
    while True:
        for mode in (Mode.SLOW, Mode.ERROR, Mode.BROKEN, Mode.HANG_UP, Mode.SILENT):
            console.print(f"proxy: {mode}")
            proxy.mode = mode
            await asyncio.sleep(6)
            proxy.mode = Mode.CLEAN
            await _recover(f"proxy: {mode}", judge, recoveries)
        console.print("vLLM: SIGSTOP for 14 s")
        process: Any = vllm._process
        os.killpg(process.pid, signal.SIGSTOP)
        await asyncio.sleep(14)  # longer than a deadline
        os.killpg(process.pid, signal.SIGCONT)
        await _recover("vLLM: SIGSTOP, SIGCONT", judge, recoveries)
        console.print("gateway: SIGKILL")
        os.kill(gateway.pid, signal.SIGKILL)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(gateway.restart_if_ended)
        await _recover("gateway: SIGKILL, started again", judge, recoveries)
        console.print("vLLM: SIGKILL")
        os.killpg(process.pid, signal.SIGKILL)
        await asyncio.sleep(1)
        await asyncio.to_thread(vllm.stop)
        await asyncio.to_thread(vllm.start)
        await _recover("vLLM: SIGKILL, started again", judge, recoveries)


async def _recover(what: str, judge: Judge, recoveries: list[tuple[str, float]]) -> None:
    """Wait until the next message."""
    before, begin = judge.kinds["message"], time.perf_counter()
    while judge.kinds["message"] == before:
        await asyncio.sleep(0.02)
    recoveries.append((what, time.perf_counter() - begin))
    await asyncio.sleep(3)


@app.command()
def soak(
    recipe: RecipeOption = DEFAULT_RECIPE,
    minutes: Annotated[float, typer.Option(help="How long.")] = 30,
    scripted: Annotated[
        bool, typer.Option("--scripted", help="A scripted model instead of vLLM: the gateway's memory is what counts.")
    ] = False,
    at_once: Annotated[int, typer.Option(help="Requests at once.")] = 32,
    pause: Annotated[float, typer.Option(help="Seconds between a caller's requests.")] = 0.0,
) -> None:
    """Load the gateway for a while and watch its memory."""
    found = load_recipe(recipe)
    judge, sizes = Judge(deadline=10), list[float]()
    with scripted_stack(found) if scripted else stack(found) as (_, gateway):
        asyncio.run(_soak(gateway, judge, minutes * 60, sizes, at_once, pause))
    half = len(sizes) // 2
    rows = [
        ["", "MiB"],
        ["first minute", f"{sizes[0]:.1f}"],
        ["halfway", f"{sizes[half]:.1f}"],
        ["end", f"{sizes[-1]:.1f}"],
    ]
    show_table(f"{sum(judge.kinds.values())} answers in {minutes:g} min: {dict(judge.kinds)}", rows)
    result = {"kinds": judge.kinds, "memory_mib": sizes, "wrong": judge.wrong}
    write_text(found.folder / "gateway-soak.json", json.dumps(result, indent=2, ensure_ascii=False))
    if judge.wrong:
        raise SignboardError(f"{len(judge.wrong)} answers were wrong, such as {judge.wrong[:3]}.")


@contextmanager
def scripted_stack(recipe: Recipe) -> Iterator[tuple[object, GatewayProcess]]:
    """Run a gateway before a model that answers immediately and correctly."""
    from benchmarks.scripted_server import Reply, Request, right_answer, scripted

    def forget(request: Request) -> Reply:
        model.requests.clear()  # a fake that remembers would grow by gigabytes
        return right_answer(request)

    os.environ.update(RATE)
    with (
        scripted(forget) as model,
        GatewayProcess(
            GatewaySettings(port=free_port()), model.url, ServeSection(), recipe.folder / "gateway-benchmark.log"
        ) as gateway,
    ):
        while not _answers(gateway.url):
            time.sleep(0.1)
        yield model, gateway


async def _soak(
    gateway: GatewayProcess, judge: Judge, seconds: float, sizes: list[float], at_once: int, pause: float
) -> None:
    end = time.monotonic() + seconds

    def wanted() -> Iterator[Reading]:
        rng, grid = random.Random(1), list(usual_grid())
        while time.monotonic() < end:
            yield rng.choice(grid)

    load = asyncio.create_task(_load(gateway.url, judge, wanted(), at_once, pause))
    while not load.done():
        await asyncio.wait({load}, timeout=min(60.0, seconds / 10))
        sizes.append(psutil.Process(gateway.pid).memory_info().rss / 2**20)
    await load


if __name__ == "__main__":
    run_app(app)
