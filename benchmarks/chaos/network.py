"""The network between the components: each connection goes through a link that can be cut.

A cut link lets nothing through and says nothing, as a pulled cable: what was sent meanwhile arrives when it is mended,
as TCP sends it again; a connection that is begun meanwhile is accepted and silent. A link refuses connections while
nothing listens behind it, as the port itself would.
"""

import asyncio
import socket
import struct
from contextlib import suppress

LOOK_SECONDS = 0.1  # between two looks whether anything listens
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Link:
    """Forwards connections from a port of its own to `target`, another port of this machine.

    Args:
        port: where it listens.
        target: where it leads.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._passing = asyncio.Event()
        self._passing.set()
        self._refused = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen as soon as something listens behind."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End every connection."""
        tasks = [*self._pumps, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reset_all()

    def cut(self) -> None:
        """Let nothing through."""
        self._passing.clear()

    def mend(self) -> None:
        """Let everything through again, what waited first."""
        self._passing.set()

    def refuse(self) -> None:
        """Reset all connections and refuse new ones until something listens behind again."""
        self._refused.set()

    async def _run(self) -> None:
        while True:
            while not await self._listened_to():
                await asyncio.sleep(LOOK_SECONDS)
            self._refused.clear()
            server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            try:
                await self._refused.wait()
            finally:
                server.close()
                self._reset_all()

    async def _listened_to(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            return False
        writer.close()
        return True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task
        self._pumps.add(task)
        self._writers.add(writer)
        behind: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._passing.wait()
                other, behind = await self._open()
                self._writers.add(behind)
                await self._both(reader, writer, other, behind)
        finally:
            self._pumps.discard(task)
            for one in filter(None, (writer, behind)):
                self._writers.discard(one)
                one.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.open_connection("127.0.0.1", self._target)
        except ConnectionRefusedError:
            self.refuse()
            raise

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        other: asyncio.StreamReader,
        behind: asyncio.StreamWriter,
    ) -> None:
        """Forward in both directions until one side ends."""
        ways = [asyncio.create_task(self._pump(*way)) for way in ((reader, behind), (other, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                data = await reader.read(65536)
                await self._passing.wait()  # an end does not come through either
                if not data:
                    return
                writer.write(data)
                await writer.drain()

    def _reset_all(self) -> None:
        for writer in tuple(self._writers):
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            writer.transport.abort()


class Network:
    """All links, each between two named components."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], Link] = {}

    def link(self, source: str, target: str, port: int, target_port: int) -> int:
        """Add a link; return the port that `source` must use for `target`."""
        self._links[source, target] = Link(port, target_port)
        return port

    def port(self, source: str, target: str) -> int:
        """Return the port that `source` uses for `target`."""
        return self._links[source, target].port

    def start(self) -> None:
        """Start all links."""
        for link in self._links.values():
            link.start()

    async def stop(self) -> None:
        """Stop all links."""
        await asyncio.gather(*(link.stop() for link in self._links.values()))

    def cut(self, name: str) -> None:
        """Cut a component off from all others."""
        for link in self._of(name):
            link.cut()

    def mend(self, name: str) -> None:
        """Connect it again."""
        for link in self._of(name):
            link.mend()

    def refuse(self, name: str) -> None:
        """Let what leads to a component refuse, because it was killed."""
        for (_, target), link in self._links.items():
            if target == name:
                link.refuse()

    def _of(self, name: str) -> list[Link]:
        return [link for ends, link in self._links.items() if name in ends]
