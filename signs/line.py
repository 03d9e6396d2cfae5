"""The line to a sign: TCP, UDP, or a serial port. One command at a time, each with its answer.

In: a command's bytes. Out: the answer's bytes, or a typed error. Several signs may hang on one line (RS-485).

Answers have no number, so a late one could be taken for the answer to the next command. That is why a line that failed
is closed: what comes late on its connection is lost with it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from core.errors import SettingError
from signs.errors import SignSilent, SignUnreachable

TCP_PORT = 5000
BAUD = 9600
BAUDS = (9600, 19200, 38400, 57600, 115200)
QUIET_SECONDS = 0.2  # what comes this soon after a serial port was opened answers an earlier command
FORMS = "Write tcp://HOST:5000, udp://HOST:5000 or serial:///dev/ttyUSB0?baud=9600."

Answer = TypeVar("Answer")
Make = Callable[[], bytes]  # makes a command's frame at the moment when it goes out
Find = Callable[[bytes], Answer | None]  # reads the answer in what came so far; None: it is not whole yet


class Line(ABC):
    """A line, and whose turn it is on it.

    Args:
        url: where it leads, for errors.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.connections = 0  # opened so far: at each new one, every sign on the line may have started anew
        self._turn = asyncio.Lock()

    async def ask(self, make: Make, find: Find[Answer], seconds: float) -> Answer:
        """Send a command; return its answer.

        Args:
            make: makes the whole frame once it is its turn; if it raises, nothing is sent and the line stays open.
            find: reads the answer in what came so far; what it raises closes the line, too.
            seconds: to connect, send and receive; waiting for the turn not counted.

        Raises:
            SignUnreachable: nothing connects, or the other end hung up.
            SignSilent: there was no whole answer in time.
            SignError: as `make` or `find` raises it.
        """
        async with self._turn:
            command = make()
            try:
                async with asyncio.timeout(seconds):
                    return await self._ask(command, find)
            except TimeoutError:
                await self.close()
                raise SignSilent(
                    f"The sign at {self.url} did not answer within {seconds:g} s.",
                    "Check its address, its speed and that nothing else uses the line.",
                ) from None
            except OSError as error:
                await self.close()
                raise SignUnreachable(
                    f"The sign at {self.url} cannot be reached: {error}.", "Check power, cable and address."
                ) from error
            except BaseException:  # a wrong answer, or our own end: the rest of it must not answer the next command
                await self.close()
                raise

    @abstractmethod
    async def _ask(self, command: bytes, find: Find[Answer]) -> Answer: ...

    @property
    def lost(self) -> bool:
        """Whether the other end hung up since the last answer."""
        return False

    async def close(self) -> None:
        """Close the connection; the next command opens it again."""
        return


class StreamLine(Line):
    """A connection that stays open: TCP, or a serial port."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def lost(self) -> bool:
        """Whether the other end hung up since the last answer."""
        reader = self._reader
        return reader is not None and (reader.at_eof() or reader.exception() is not None)

    async def _ask(self, command: bytes, find: Find[Answer]) -> Answer:
        if self.lost:
            await self.close()
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await self._open()
            self.connections += 1
        await _discard(self._reader)
        self._writer.write(command)
        await self._writer.drain()
        received = b""
        while (answer := find(received)) is None:
            if not (more := await self._reader.read(4096)):
                raise ConnectionResetError("it hung up before it answered")
            received += more
        return answer

    @abstractmethod
    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...

    async def close(self) -> None:
        """Close the connection; the next command opens it again."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()


class TcpLine(StreamLine):
    """A sign, or a serial converter, that listens on a TCP port."""

    def __init__(self, url: str, host: str, port: int) -> None:
        super().__init__(url)
        self._place = host, port

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self._place)


class SerialLine(StreamLine):
    """A serial port, with eight data bits, no parity and one stop bit."""

    def __init__(self, url: str, port: str, baud: int) -> None:
        super().__init__(url)
        self._port, self._baud = port, baud

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        from serial_asyncio_fast import open_serial_connection

        reader, writer = await open_serial_connection(url=self._port, baudrate=self._baud)
        with suppress(TimeoutError):
            async with asyncio.timeout(QUIET_SECONDS):
                while await reader.read(4096):
                    pass
        return reader, writer


class UdpLine(Line):
    """A sign that answers datagrams; each command has a port of its own, which late answers to others do not reach."""

    def __init__(self, url: str, host: str, port: int) -> None:
        super().__init__(url)
        self._place = host, port

    async def _ask(self, command: bytes, find: Find[Answer]) -> Answer:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(_Datagrams, remote_addr=self._place)
        try:
            transport.sendto(command)
            received = b""
            while (answer := find(received)) is None:
                received += await protocol.next()
            return answer
        finally:
            transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._came: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    def datagram_received(self, data: bytes, _address: Any) -> None:
        self._came.put_nowait(data)

    def error_received(self, error: Exception) -> None:
        self._came.put_nowait(error)

    async def next(self) -> bytes:
        """Return the next datagram.

        Raises:
            OSError: the host says that nothing listens there.
        """
        came = await self._came.get()
        if isinstance(came, Exception):
            raise came
        return came


async def _discard(reader: asyncio.StreamReader) -> None:
    """Throw away what nobody asked for."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await reader.read(65536)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line leads, as its URL says."""

    url: str
    kind: str  # tcp, udp or serial
    where: str  # host or device
    number: int  # port or baud

    @classmethod
    def at(cls, url: str) -> "Place":
        """Read a line's URL.

        Raises:
            SettingError: it has none of the known forms.
        """
        try:
            parts = urlsplit(url)
            options = parse_qs(parts.query, strict_parsing=bool(parts.query))
            if parts.scheme == "serial" and parts.path.strip("/") and not parts.netloc and set(options) <= {"baud"}:
                baud = int(options.get("baud", [str(BAUD)])[0])
                if baud not in BAUDS:
                    raise ValueError(f"no baud rate {baud}")
                return cls(url, "serial", parts.path, baud)
            plain = not (parts.path.strip("/") or parts.query or parts.username)
            if parts.scheme in ("tcp", "udp") and parts.hostname and plain:
                return cls(url, parts.scheme, parts.hostname, parts.port or TCP_PORT)
        except ValueError as error:
            raise SettingError(f"{url!r} is not a sign's address: {error}.", FORMS) from error
        raise SettingError(f"{url!r} is not a sign's address.", FORMS)

    def line(self) -> Line:
        """Return a line to it; it opens with the first command."""
        if self.kind == "serial":
            return SerialLine(self.url, self.where, self.number)
        kind = TcpLine if self.kind == "tcp" else UdpLine
        return kind(self.url, self.where, self.number)
