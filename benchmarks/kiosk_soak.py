"""The kiosk page for a day, and through faults, in real headless Chromium: memory, listeners, and what it shows.

Usage: python -m benchmarks.kiosk_soak [--minutes 15] [--speed 96] [--out runs/kiosk]
In: Chromium, a gateway process, a scripted model. Out: a table on the screen, `soak.json`, and a picture of each fault.

The clocks and timers of the page run `--speed` times faster, so 15 minutes are a day; those of the gateway do not. New
messages come every two real seconds. The heap is read after a garbage collection.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import linear_regression
from typing import Annotated, Any

import httpx
import typer
from playwright.sync_api import BrowserContext, BrowserType, CDPSession, Page, sync_playwright

from benchmarks.scripted_server import eventually, right_answer, scripted
from core.errors import ServiceError
from core.ports import free_port
from pipeline.cli import run_app

SIZE, SCREEN = "width=192&height=48", {"width": 768, "height": 192}
FAULT_AGE = 30  # seconds until a message is stale, in the faults
SAMPLE = 15.0  # seconds between two readings of the heap
UPDATE = 2.0  # seconds between two messages
FASTER = """
(() => {
  const speed = %d, began = Date.now(), now = performance.now.bind(performance), date = Date.now.bind(Date);
  const timer = window.setTimeout.bind(window);
  performance.now = () => now() * speed;
  Date.now = () => began + (date() - began) * speed;
  window.setTimeout = (work, pause) => timer(work, pause / speed);
  const send = XMLHttpRequest.prototype.send;
  window.looks = 0;
  XMLHttpRequest.prototype.send = function () { window.looks++; return send.apply(this, arguments); };
})();
"""
LIT = """() => {
  const sign = document.getElementById('sign');
  return sign && sign.width > 0
    && sign.getContext('2d').getImageData(0, 0, sign.width, sign.height).data.some((value, i) => i %% 4 < 3 && value);
}""".replace("%%", "%")
METRICS = ("JSHeapUsedSize", "JSEventListeners", "Nodes", "Documents")


@contextmanager
def gateway(model_url: str, port: int, max_age: float) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m gateway run`."""
    command = [sys.executable, "-m", "gateway", "run", f"--port={port}", f"--model-url={model_url}"]
    told = {"SIGNBOARD_GATEWAY_MAX_AGE": str(max_age), "SIGNBOARD_GATEWAY_RATE_LIMIT": "100000/minute"}
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            command,
            env=os.environ | told | {"SIGNBOARD_GATEWAY_DATABASE": f"sqlite:///{folder}/signboard.db"},
            stdout=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            if not eventually(lambda: _answers(port), 60):
                raise ServiceError("The gateway did not start.", "Run `python -m gateway run` to see why.")
            yield process
        finally:
            process.kill()


def _answers(port: int) -> bool:
    try:
        return bool(httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=5).status_code)
    except httpx.HTTPError:
        return False


def show(port: int, number: int, board: str = "main") -> None:
    """Request a message for a board; the temperatures follow from a number."""
    body = {"yesterday_temp": 20, "today_temp": 10 + number % 25, "board": board}
    httpx.post(f"http://127.0.0.1:{port}/generate/temperature", json=body, trust_env=False, timeout=30)


def chromium() -> str:
    """Return Chromium's path.

    Raises:
        ServiceError: it is missing.
    """
    if not (found := shutil.which("chromium")):
        raise ServiceError("Chromium is missing.", "apt-get install chromium fonts-nanum")
    return found


@contextmanager
def player(kind: BrowserType, profile: str) -> Iterator[BrowserContext]:
    """Start a browser with a profile that outlives it."""
    context = kind.launch_persistent_context(profile, executable_path=chromium(), viewport=SCREEN)  # type: ignore[arg-type]
    try:
        yield context
    finally:
        context.close()


def address(port: int, board: str = "main", more: str = "&zoom=4") -> str:
    """Return a board's kiosk page."""
    return f"http://127.0.0.1:{port}/sign/{board}?{SIZE}{more}"


# A day


def soak(kind: BrowserType, model_url: str, minutes: float, speed: int) -> dict[str, Any]:
    """Run the page for so long; return what was measured."""
    port, samples, updates = free_port(), [], 0
    with (
        gateway(model_url, port, 6 * 3600),
        tempfile.TemporaryDirectory() as profile,
        player(kind, profile) as context,
    ):
        page = context.pages[0]
        page.add_init_script(FASTER % speed)
        page.goto(address(port))
        devtools = context.new_cdp_session(page)
        began = sampled = time.monotonic()
        while (now := time.monotonic()) - began < minutes * 60:
            show(port, updates)
            updates += 1
            if now - sampled >= SAMPLE:
                samples.append({"minute": round((now - began) / 60, 2)} | measured(devtools))
                sampled = now
            page.wait_for_timeout(UPDATE * 1000)
        looks = int(page.evaluate("window.looks"))
    return {"minutes": minutes, "speed": speed, "updates": updates, "looks": looks, "samples": samples}


def measured(devtools: CDPSession) -> dict[str, float]:
    """Return heap, listeners and nodes after a garbage collection."""
    devtools.send("HeapProfiler.collectGarbage")
    devtools.send("Performance.enable")
    found = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    return {name: found[name] for name in METRICS}


def trend(samples: list[dict[str, float]]) -> float:
    """Return the heap's slope over the second half of the samples, in bytes a minute: the first half warms up."""
    late = samples[len(samples) // 2 :]
    return linear_regression([one["minute"] for one in late], [one["JSHeapUsedSize"] for one in late]).slope


# Faults


class Faults:
    """Kills gateway, network and player in turn, and takes pictures.

    Args:
        kind: the browser.
        model_url: the model's.
        out: a folder for the pictures.
    """

    def __init__(self, kind: BrowserType, model_url: str, out: Path) -> None:
        self._kind = kind
        self._model_url = model_url
        self._out = out
        self._port = free_port()
        self.seen: list[tuple[str, str]] = []

    def run(self) -> None:
        """Go through all of them."""
        with tempfile.TemporaryDirectory() as profile:
            self._gateway_and_network(profile)
            self._player(profile)

    def _gateway_and_network(self, profile: str) -> None:
        with player(self._kind, profile) as context:
            page = context.pages[0]
            with gateway(self._model_url, self._port, FAULT_AGE) as process:
                page.goto(address(self._port))
                page.evaluate("navigator.serviceWorker.ready.then(() => true)")
                show(self._port, 1)
                self._wait(page, lit=True)
                self._take(page, "1-shown")
                context.set_offline(True)
                page.wait_for_timeout(8000)
                self._take(page, "2-network-cut-8s")
                self._wait(page, lit=False)
                self._take(page, "3-network-cut-stale")
                context.set_offline(False)
                show(self._port, 2)
                self._wait(page, lit=True)
                self._take(page, "4-network-back")
                process.send_signal(signal.SIGKILL)
                page.wait_for_timeout(8000)
            self._take(page, "5-gateway-killed-8s")
            self._wait(page, lit=False)
            self._take(page, "6-gateway-killed-stale")
            with gateway(self._model_url, self._port, FAULT_AGE):
                show(self._port, 3)
                self._wait(page, lit=True)
                self._take(page, "7-gateway-back")

    def _player(self, profile: str) -> None:
        """The browser is killed and comes back while nothing answers."""
        with player(self._kind, profile) as context:
            page = context.pages[0]
            page.goto(address(self._port))
            page.wait_for_timeout(8000)
            self._take(page, "8-player-restarted-without-network")
            with gateway(self._model_url, self._port, FAULT_AGE):
                show(self._port, 4)
                self._wait(page, lit=True)
                self._take(page, "9-player-restarted-network-back")

    def _wait(self, page: Page, *, lit: bool) -> None:
        end = time.monotonic() + 2 * FAULT_AGE
        while bool(page.evaluate(LIT)) is not lit:
            if time.monotonic() > end:
                raise ServiceError(f"The sign is still {'black' if lit else 'lit'}.", "See the pictures.")
            page.wait_for_timeout(100)

    def _take(self, page: Page, name: str) -> None:
        page.screenshot(path=self._out / f"{name}.png")
        shown = "message" if page.evaluate(LIT) else "black"
        self.seen.append((name, f"{shown}, {page.evaluate('document.documentElement.dataset.state')}"))


def nine(kind: BrowserType, model_url: str, out: Path) -> dict[str, float]:
    """Open nine boards as tabs of one browser for a minute; return how many show their message, and their heaps."""
    port, boards = free_port(), [f"b{number}" for number in range(9)]
    with (
        gateway(model_url, port, 6 * 3600),
        tempfile.TemporaryDirectory() as profile,
        player(kind, profile) as context,
    ):
        for number, board in enumerate(boards):
            show(port, number, board)
            context.new_page().goto(address(port, board))
        pages = context.pages[1:]
        pages[0].wait_for_timeout(60_000)
        for page, board in zip(pages, boards, strict=True):
            page.screenshot(path=out / f"nine-{board}.png")
        heaps = [measured(context.new_cdp_session(page))["JSHeapUsedSize"] for page in pages]
        return {"lit": sum(bool(page.evaluate(LIT)) for page in pages), "largest_heap": max(heaps), "heaps": sum(heaps)}


def main(
    minutes: Annotated[float, typer.Option(help="Of the soak, at least 2; 0 leaves it out.")] = 15,
    speed: Annotated[int, typer.Option(help="How many times faster the page's clocks run.")] = 96,
    out: Annotated[Path, typer.Option(help="Folder for pictures and numbers.")] = Path("runs/kiosk"),
) -> None:
    """Run everything."""
    out.mkdir(parents=True, exist_ok=True)
    with scripted(right_answer) as model, sync_playwright() as playwright:
        kind = playwright.chromium
        faults = Faults(kind, model.url, out)
        faults.run()
        for name, seen in faults.seen:
            print(f"{name:<36} {seen}")
        print("nine boards:", nine(kind, model.url, out))
        if minutes:
            found = soak(kind, model.url, minutes, speed)
            (out / "soak.json").write_text(json.dumps(found, indent=1))
            _report(found)


def _report(found: dict[str, Any]) -> None:
    samples = found["samples"]
    print(f"{found['minutes']} min × {found['speed']}: {found['looks']} looks, {found['updates']} messages")
    for name in METRICS:
        values = [one[name] for one in samples]
        print(
            f"{name:<18} first {values[0]:.0f}, last {values[-1]:.0f}, least {min(values):.0f}, most {max(values):.0f}"
        )
    print(f"heap's slope over the second half: {trend(samples):.0f} bytes a minute")


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
