"""A DABIT controller that is not there: it follows the published ASCII protocol, and lies when it is told to.

In: bytes of a TCP or UDP port, or of a serial port. Out: answers, and a picture of what it shows. It is written from
the protocol, not from our driver, and decodes strictly: a driver's mistake is an F or silence here.

What the vendor's pages leave open it does as docs/signs.md says; a real controller may differ there.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from PIL import Image

from core.errors import ServiceError, SettingError
from core.sign import cells
from signs.dabit import CELL, ROW
from signs.raster import Align, Font, SignProfile, as_picture, blank, draw

FRAME = re.compile(rb"!\[(.*?)!\](..)?", re.DOTALL)
LENGTHS = {"P": 4, "D": 4, "F": 4, "E": 4, "S": 4, "X": 4, "Y": 4, "B": 3, "U": 3, "C": 1, "G": 1, "T": 1}
LONG_HOLDS = {90: 120, 91: 180, 92: 300, 93: 600, 94: 1800, 95: 3600, 96: 10800, 97: 18000, 98: 32400}  # seconds
ON, OFF = 99, 0
NAME = "DABIT 7.50 simulated"


class Lie(StrEnum):
    """What it may do instead of answering rightly."""

    SILENT = "silent"  # no answer, and nothing is done
    DEAF = "deaf"  # it does what it is told, and no answer comes back
    FAILED = "failed"  # F, and nothing is done
    GARBAGE = "garbage"  # other bytes than an answer
    LATE = "late"  # done, but the answer comes after the driver's patience
    HALF = "half"  # half an answer
    RESET = "reset"  # after a right answer it starts anew: its RAM is empty, its connections are gone
    OTHER_ADDRESS = "other-address"  # it has another address now, so it ignores the command
    CUT = "cut"  # it hangs up in the middle


@dataclass
class Shown:
    """What its RAM holds."""

    text: str
    since: float  # monotonic seconds
    until: float | None  # None: it stays


@dataclass
class Controller:
    """The controller itself, without a line.

    Args:
        size: of its screen in dots.
        address: to which it answers.
        encoding: of its fonts.
        odds: lie → how probable it is at each command.
        late: seconds for which an answer is held back by the lie `late`.
        seed: equal seeds lie equally.
        clock: monotonic seconds.
        speed: how much faster than the clock its hold times pass, for tests.
    """

    size: tuple[int, int] = (192, 48)
    address: str = "0"
    encoding: str = "euc-kr"
    odds: dict[Lie, float] = field(default_factory=dict)
    late: float = 5.0
    seed: int = 1
    clock: Callable[[], float] = time.monotonic
    speed: float = 1.0
    screen_on: bool = True
    brightness: int = 99
    commands: int = 0
    told: "Counter[Lie]" = field(default_factory=Counter)  # lies so far
    changed: Callable[[str], None] = lambda _text: None  # called with what it shows, whenever that may have changed
    _shown: Shown | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def text(self) -> str:
        """What its screen shows now; empty: nothing."""
        shown = self._shown
        if not shown or not self.screen_on or (shown.until is not None and self.clock() >= shown.until):
            return ""
        return shown.text.rstrip(" ") if shown.text.strip(" ") else ""

    def picture(self) -> Image.Image:
        """Return its screen as a bitmap, one pixel a dot."""
        width, height = self.size
        screen = blank(SignProfile(width, height, Font.DOTS_16))
        column = row = 0
        hangul = SignProfile(2 * CELL, ROW, Font.DOTS_16, Align.TOP_LEFT)
        ascii_ = SignProfile(CELL, Font.DOTS_12, Font.DOTS_12, Align.TOP_LEFT)  # our large font's digits are too wide
        for char in self.text:
            wide = cells(char)
            if (column + wide) * CELL > width:
                column, row = 0, row + 1
            if char != " " and wide == 2:
                screen.paste(draw((char,), hangul), (column * CELL, row * ROW))
            elif char != " ":
                screen.paste(draw((char,), ascii_), (column * CELL + 1, row * ROW + 3))
            column += wide
        return screen

    def reset(self) -> None:
        """Start anew, as after a power failure: the RAM is empty."""
        self._shown, self.screen_on = None, True
        self.changed(self.text)

    def lie(self) -> Lie | None:
        """Return what it will do instead at this command."""
        draw_of = self._random.random()
        for lie, odds in self.odds.items():
            draw_of -= odds
            if draw_of < 0:
                self.told[lie] += 1
                return lie
        return None

    def obey(self, frame: bytes) -> bytes:
        """Do what a frame says; return the answer, empty if the frame is not for this sign."""
        found = FRAME.fullmatch(frame)
        if not found or found[1][:1].decode("latin-1") != self.address:
            return b""
        self.commands += 1
        body, check = found[1], found[1][1:2] == b"1"
        kind = body[2:3].decode("latin-1")
        kind = kind if kind in "01" else body[2:4].decode("latin-1")
        right = not check or found[2] == _xor(frame[: found.end(1) + 2])
        said = self._do(kind, body[2 + len(kind) :]) if right else "F"
        answer = f"![0{int(check)}{kind}{said}!]".encode()
        self.changed(self.text)
        return answer + _xor(answer) if check else answer

    def _do(self, kind: str, data: bytes) -> str:
        if kind == "0":
            return self._message(data)
        if kind == "21" and data in (b"0", b"1"):
            self.screen_on = data == b"1"
            return "0"
        if kind == "50" and re.fullmatch(rb"\d\d", data):
            self.brightness = int(data)
            return "0"
        if kind == "81" and not data:
            return NAME
        return "F"

    def _message(self, data: bytes) -> str:
        try:
            text = data.decode(self.encoding)
        except UnicodeDecodeError:
            return "F"
        attributes: dict[str, str] = {}
        words: list[str] = []
        while text:
            before, slash, text = text.partition("/")
            words.append(before)
            if slash:
                name, length = text[:1], LENGTHS.get(text[:1], 0)
                value, text = text[1 : 1 + length], text[1 + length :]
                if not length or len(value) < length or not value.isdecimal():
                    return "F"
                attributes[name] = value
        self._keep("".join(words), attributes)
        return "0"

    def _keep(self, text: str, attributes: dict[str, str]) -> None:
        times, held = int(attributes.get("D", "9901")[:2]), int(attributes.get("S", "2002")[2:])
        seconds = LONG_HOLDS.get(held, held / 2)
        until = None if times == ON else self.clock() + times * seconds / self.speed
        self._shown = Shown(text, self.clock(), until) if times != OFF else None


def _xor(frame: bytes) -> bytes:
    value = 0
    for byte in frame:
        value ^= byte
    return f"{value:02X}".encode()


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
        except OSError:
            pass  # the other end is gone
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


def read_odds(texts: Iterable[str]) -> dict[Lie, float]:
    """Read lies such as `late@0.1`: a lie, and how probable it is at each command.

    Raises:
        SettingError: a text has another form, or together they are more than certain.
    """
    odds: dict[Lie, float] = {}
    for text in texts:
        name, _, share = text.partition("@")
        try:
            odds[Lie(name)] = float(share)
        except ValueError as error:
            raise SettingError(f"{text!r} is no lie: {error}.", f"Write {'|'.join(Lie)}@0.1.") from error
    if not all(0 <= share <= 1 for share in odds.values()) or sum(odds.values()) > 1:
        raise SettingError("The lies are more than certain.", "Their shares must be at most 1 together.")
    return odds


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
    try:
        if kind == "udp":
            say(f"listening at {await UdpSimulator(controllers).start(host, port)}; Ctrl-C stops it")
        else:
            tcp = await TcpSimulator(controllers, host, port).__aenter__()
            say(f"listening at {tcp.url}; Ctrl-C stops it")
    except OSError as error:
        raise ServiceError(f"{host}:{port} cannot be used: {error}.", "Choose another --url.") from error
    while True:
        await asyncio.sleep(1)
        for controller in controllers:
            controller.changed(controller.text)
