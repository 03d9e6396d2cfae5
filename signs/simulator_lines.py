"""The ports of a simulated controller: TCP, UDP, or a stream such as a serial port; and where its lies are told.

In: what arrives at a port. Out: answers, none, late ones, halves.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from core.errors import ServiceError
from signs.raster import as_picture
from signs.simulator import Controller, Lie


class Connection:
    """One line to a controller: finds frames in what arrives, and sends answers or lies.

    Args:
        controllers: those on the line; each answers to its own address.
        send: takes an answer's bytes.
        hang_up: ends every connection, as a reset does.
    """

    def __init__(
        self, controllers: Iterable[Controller], send: Callable[[bytes], None], hang_up: Callable[[], None]
    ) -> None:
        self._controllers = list(controllers)
        self._send = send
        self._hang_up = hang_up
        self._rest = b""
        self._late: set[asyncio.Task[None]] = set()

    def take(self, data: bytes) -> None:
        """Take what arrived."""
        self._rest += data
        while (end := self._rest.find(b"!]")) >= 0:
            start = max(0, self._rest.rfind(b"![", 0, end))
            checked = self._rest[start + 3 : start + 4] == b"1"
            stop = end + (4 if checked else 2)
            if len(self._rest) < stop:
                return
            frame, self._rest = self._rest[start:stop], self._rest[stop:]
            for controller in self._controllers:
                self._answer(controller, frame)

    def _answer(self, controller: Controller, frame: bytes) -> None:
        lie = controller.lie()
        if lie in (Lie.SILENT, Lie.OTHER_ADDRESS):
            return
        if lie is Lie.FAILED:
            self._send(b"![0" + frame[3:5] + b"F!]")
            return
        if lie is Lie.GARBAGE:
            self._send(b"![0Z?!]")
            return
        answer = controller.obey(frame)
        if lie is None:
            self._send(answer)
        elif lie is Lie.HALF:
            self._send(answer[: len(answer) // 2])
        elif lie is Lie.LATE:
            self._keep(self._later(answer, controller.late))
        elif lie in (Lie.RESET, Lie.CUT):
            if lie is Lie.RESET:
                self._send(answer)
                controller.reset()
            self._keep(self._end())

    async def _later(self, answer: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._send(answer)

    async def _end(self) -> None:
        await asyncio.sleep(0.01)  # so that the answer is on its way
        self._hang_up()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._late.add(task)
        task.add_done_callback(self._late.discard)


class TcpSimulator:
    """Controllers behind one TCP port.

    ```
    async with TcpSimulator([Controller()], "127.0.0.1", 5000):
        ...
    ```

    Args:
        controllers: each with its own address.
        host: where to listen.
        port: 0 takes a free one.
    """

    def __init__(self, controllers: list[Controller], host: str = "127.0.0.1", port: int = 0) -> None:
        self._controllers = controllers
        self._place = host, port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"tcp://{self._place[0]}:{self._place[1]}"

    async def __aenter__(self) -> "TcpSimulator":
        self._server = await asyncio.start_server(self._serve, *self._place)
        self._place = self._server.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and hang up; `__aenter__` listens at the same place again."""
        if self._server:
            self._server.close()
            self.hang_up()
            while self._open:
                await asyncio.sleep(0)
            await self._server.wait_closed()
            self._server = None

    def hang_up(self) -> None:
        """End every connection."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)

        def send(data: bytes) -> None:
            if not writer.is_closing():
                writer.write(data)

        connection = Connection(self._controllers, send, self.hang_up)
        try:
            while data := await reader.read(4096):
                connection.take(data)
        except (OSError, asyncio.CancelledError):
            pass  # the other end is gone, or we end: asyncio 3.11 would print the cancellation as a fault
        finally:
            self._open.discard(writer)
            writer.close()


class UdpSimulator(asyncio.DatagramProtocol):
    """Controllers behind one UDP port; each datagram is a line of its own.

    Args:
        controllers: each with its own address.
    """

    def __init__(self, controllers: list[Controller]) -> None:
        self._controllers = controllers
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; return the URL."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self._transport = transport
        return "udp://{}:{}".format(*transport.get_extra_info("sockname")[:2])

    def stop(self) -> None:
        """Stop listening."""
        if self._transport:
            self._transport.close()

    def datagram_received(self, data: bytes, address: Any) -> None:
        """Take a datagram."""
        transport = self._transport
        if transport:
            Connection(self._controllers, lambda answer: transport.sendto(answer, address), lambda: None).take(data)


async def serve_stream(
    controllers: list[Controller], reader: asyncio.StreamReader, write: Callable[[bytes], None]
) -> None:
    """Be the sign at the other end of a stream, such as a serial port, until it ends."""
    connection = Connection(controllers, write, lambda: None)
    while data := await reader.read(4096):
        connection.take(data)


def picture_keeper(
    controller: Controller, file: Path | None, scale: int, say: Callable[[str], None]
) -> Callable[[str], None]:
    """Return what says each change of a screen, and keeps a picture of it in a file if one is named."""
    last: str | None = None

    def changed(text: str) -> None:
        nonlocal last
        if text != last:
            last = text
            say(f"shows: {' '.join(text.split()) or '(blank)'}")
            if file:
                file.parent.mkdir(parents=True, exist_ok=True)
                draft = file.with_suffix(".draft")
                as_picture([controller.picture()], scale).save(draft, "PNG")
                draft.replace(file)

    changed(controller.text)
    return changed


async def serve_until_stopped(
    controllers: list[Controller], kind: str, host: str, port: int, say: Callable[[str], None]
) -> None:
    """Be signs at an address until the task is cancelled; timers end on the second.

    Raises:
        ServiceError: the address is taken.
    """
    async with AsyncExitStack() as stack:  # a connection that comes at the end must not outlive the loop
        try:
            if kind == "udp":
                line = UdpSimulator(controllers)
                url = await line.start(host, port)
                stack.callback(line.stop)
            else:
                url = (await stack.enter_async_context(TcpSimulator(controllers, host, port))).url
        except OSError as error:
            raise ServiceError(f"{host}:{port} cannot be used: {error}.", "Choose another --url.") from error
        say(f"listening at {url}; Ctrl-C stops it")
        while True:
            await asyncio.sleep(1)
            for controller in controllers:
                controller.changed(controller.text)
