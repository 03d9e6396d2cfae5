"""Simulated signs for tests, over real sockets and a real pseudo-terminal."""

import asyncio
import os
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signs.simulator import Controller
from signs.simulator_lines import TcpSimulator, serve_stream


class SimulatedSign:
    """A controller behind a TCP port, in a thread with an event loop of its own."""

    def __init__(self, *controllers: Controller) -> None:
        self.controllers = list(controllers)
        self.loop = asyncio.new_event_loop()
        self.tcp = TcpSimulator(self.controllers)
        self._thread = threading.Thread(target=self.loop.run_forever)

    @property
    def controller(self) -> Controller:
        return self.controllers[0]

    @property
    def shows(self) -> str:
        """What the first one shows, without the spaces that fill a line."""
        return " ".join(self.controller.text.split())

    def switch_on(self) -> None:
        """Listen, at the same port as before."""
        self._run(self.tcp.__aenter__())

    def switch_off(self) -> None:
        """Lose the power: the RAM is empty, nothing answers."""
        self.loop.call_soon_threadsafe(self.controller.reset)
        self._run(self.tcp.stop())

    def _run(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(10)  # type: ignore[arg-type]


@contextmanager
def simulated_sign(*controllers: Controller) -> Iterator[SimulatedSign]:
    """Run a sign for the length of a `with` block."""
    sign = SimulatedSign(*(controllers or (Controller((160, 32)),)))
    sign._thread.start()
    sign.switch_on()
    try:
        yield sign
    finally:
        sign._run(sign.tcp.stop())
        sign.loop.call_soon_threadsafe(sign.loop.stop)
        sign._thread.join()
        sign.loop.close()


@contextmanager
def serial_sign(*controllers: Controller) -> Iterator[str]:
    """Run signs at the other end of a serial port for the length of a `with` block; yield the port's URL.

    Inside an event loop, in which they answer.
    """
    ours, theirs = os.openpty()
    for end in (ours, theirs):
        tty.setraw(end)
    port = os.ttyname(theirs)

    def answer(data: bytes) -> None:
        os.write(ours, data)

    async def serve() -> None:
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        with os.fdopen(os.dup(ours), "rb", 0) as file:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
            try:
                await serve_stream(list(controllers), reader, answer)
            finally:
                transport.close()

    task = asyncio.get_running_loop().create_task(serve())
    try:
        yield f"serial://{port}?baud=115200"
    finally:
        task.cancel()
        os.close(theirs)
        os.close(ours)


def park_file(folder: Path, signs: str) -> Path:
    """Write a park with signs; return its folder."""
    (folder / "lake.yaml").write_text(f"name: 호수공원\nelements: [벤치, 산책로]\nsigns:\n{signs}\n", encoding="utf-8")
    return folder
