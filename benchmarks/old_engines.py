"""The kiosk page in old engines: does it show a message, go black when it is stale, and come up without the network?

Usage: python -m benchmarks.old_engines CHROMIUM…
In: Chromium binaries (the npm package `chrome-aws-lambda` holds headless ones: 64.0.3264, 1.11.2, 1.20.4; unpack
`bin/chromium*.br` with brotli). Out: a line for each, and the canvas against `/boards/{id}.png`, pixel by pixel.

Playwright drives current engines only, so this speaks the DevTools protocol itself.
"""

import base64
import io
import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from benchmarks.kiosk_soak import SIZE, gateway, show
from benchmarks.scripted_server import eventually, right_answer, scripted
from core.ports import free_port
from pipeline.cli import run_app

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage")
STATE = "document.documentElement.getAttribute('data-state')"
MAX_AGE = 20  # seconds until a message is stale
PIXELS = """(function () {
  var sign = document.getElementById('sign');
  var data = sign.getContext('2d').getImageData(0, 0, sign.width, sign.height).data, text = '';
  for (var i = 0; i < data.length; i++) text += String.fromCharCode(data[i]);
  return JSON.stringify([sign.width, sign.height, sign.getAttribute('data-page'), btoa(text)]);
})()"""


class Tab:
    """One page of a browser, by the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self._socket.recv(timeout=20))).get("id") != number:
            pass
        return dict(answer.get("result", answer))

    def value(self, script: str) -> Any:
        """Return what an expression gives."""
        return self.send("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def becomes(self, state: str, seconds: float = 20) -> bool:
        """Wait for a state of the page."""
        return eventually(lambda: self.value(STATE) == state, seconds)


@contextmanager
def browser(binary: Path, profile: str) -> Iterator[tuple[str, Tab]]:
    """Start an engine; yield its name and its first tab."""
    port = free_port()
    command = [str(binary), *FLAGS, f"--remote-debugging-port={port}", f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert eventually(lambda: _get(port, "version") is not None, 30), f"{binary} does not start"
            tabs = [one for one in _get(port, "list") if one["type"] == "page"]
            with connect(tabs[0]["webSocketDebuggerUrl"], max_size=None, proxy=None, ping_interval=None) as socket:
                yield _get(port, "version")["Browser"], Tab(socket)
        finally:
            process.kill()


def _get(port: int, what: str) -> Any:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/json/{what}", trust_env=False, timeout=5).json()
    except (httpx.HTTPError, ValueError):
        return None


def differing(tab: Tab, port: int) -> int:
    """Return how many pixels of the canvas differ from the picture of its page."""
    width, height, number, data = json.loads(tab.value(PIXELS))
    canvas = Image.frombytes("RGBA", (width, height), base64.b64decode(data)).convert("RGB")
    png = httpx.get(f"http://127.0.0.1:{port}/boards/main.png?{SIZE}&page={number}", trust_env=False).content
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    pairs = zip(canvas.get_flattened_data(), picture.get_flattened_data(), strict=True)
    return sum(one != other for one, other in pairs)


def is_lit(tab: Tab) -> bool:
    """Return whether a dot of the canvas is lit."""
    width, height, _, data = json.loads(tab.value(PIXELS))
    return bool(Image.frombytes("RGBA", (width, height), base64.b64decode(data)).convert("RGB").getbbox())


def probe(binary: Path, model_url: str) -> str:
    """Return what an engine does, in one line."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/sign/main?{SIZE}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        with browser(binary, profile) as (name, tab):
            with gateway(model_url, port, MAX_AGE):
                show(port, 1)
                tab.send("Page.navigate", url=address)
                shown = tab.becomes("shown")
                wrong = differing(tab, port)
                tab.send(
                    "Runtime.evaluate", expression="navigator.serviceWorker.ready.then(() => 1)", awaitPromise=True
                )
            lost, black = tab.becomes("lost"), eventually(lambda: not is_lit(tab), 2 * MAX_AGE)
        with browser(binary, profile) as (_, tab):
            tab.send("Page.navigate", url=address)
            alone = tab.becomes("lost")
            with gateway(model_url, port, MAX_AGE):
                show(port, 2)
                back = tab.becomes("shown")
    seen = {"shown": shown, "lost": lost, "black when stale": black, "restarts alone": alone, "comes back": back}
    return f"{name}: {wrong} pixels differ; " + ", ".join(
        f"{what} {'yes' if was else 'NO'}" for what, was in seen.items()
    )


def main(binaries: Annotated[list[Path], typer.Argument(help="Chromium binaries.")]) -> None:
    """Probe each engine."""
    with scripted(right_answer) as model:
        for binary in binaries:
            print(probe(binary, model.url), flush=True)


if __name__ == "__main__":
    run_app(lambda: typer.run(main))
