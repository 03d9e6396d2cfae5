"""A proxy before vLLM that fails on demand, for the gateway's fault test: slow, 500, broken JSON, closed connections.

In: whole HTTP/1.1 answers of the server behind it. It forwards bytes and spoils only the answers that `mode` names.
"""

import asyncio
import random
from contextlib import suppress
from enum import StrEnum

BROKEN = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{"choices": '
ERROR = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\noops"


class Mode(StrEnum):
    """The fault that answers get."""

    CLEAN = "clean"
    SLOW = "slow"  # every answer up to two seconds late
    ERROR = "error"  # a fifth: 500
    BROKEN = "broken"  # a fifth: half a JSON
    HANG_UP = "hang up"  # a fifth: the connection ends halfway
    SILENT = "silent"  # a fifth: no answer


class FlakyProxy:
    """Listens on `port`, forwards to `target`, both on loopback."""

    def __init__(self, port: int, target: int, seed: int = 1) -> None:
        self.port, self._target = port, target
        self.mode = Mode.CLEAN
        self._rng = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "FlakyProxy":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            # asyncio logs a cancelled connection as an error, so its end is quiet here.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                behind = await asyncio.open_connection("127.0.0.1", self._target)
                try:
                    while await self._exchange(reader, writer, *behind):
                        pass
                finally:
                    behind[1].close()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        behind_reader: asyncio.StreamReader,
        behind_writer: asyncio.StreamWriter,
    ) -> bool:
        """Forward one request and its answer; return whether the connection stays open."""
        behind_writer.write(await _message(reader))
        answer = await _message(behind_reader)
        mode = self.mode if self.mode in (Mode.CLEAN, Mode.SLOW) or self._rng.random() < 0.2 else Mode.CLEAN
        if mode is Mode.SLOW:
            await asyncio.sleep(self._rng.random() * 2)
        if mode is Mode.SILENT:
            await asyncio.sleep(3600)
        spoilt = {Mode.ERROR: ERROR, Mode.BROKEN: BROKEN, Mode.HANG_UP: answer[: len(answer) // 2]}
        writer.write(spoilt.get(mode, answer))
        await writer.drain()
        return mode is not Mode.HANG_UP


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read one HTTP message that announces its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    return head + await reader.readexactly(length)
