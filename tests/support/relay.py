"""A network that can be cut: a relay before a server, both on loopback. While it is cut, nothing passes, silently."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.ports import free_port


class Relay:
    """Forwards connections to `target`, a port of this machine."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._peers: dict[socket.socket, socket.socket | None] = {}  # None: it was accepted while the network was cut
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._cut = threading.Event()
        self._stopping = threading.Event()
        self._mended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def cut(self) -> None:
        """Let nothing through; connections stay open, as with a pulled cable."""
        self._cut.set()

    def mend(self) -> None:
        """Let everything through again; connections from before are gone, as after a router's restart."""
        self._mended.set()
        self._cut.clear()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._drop_all()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._mended.is_set():
                self._mended.clear()
                self._drop_all()
            for key, _ in self._selector.select(0.05):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is self._listener:
                    self._accept()
                elif one in self._peers:
                    self._forward(one)

    def _accept(self) -> None:
        caller, _ = self._listener.accept()
        behind = None if self._cut.is_set() else socket.create_connection(("127.0.0.1", self._target))
        self._peers[caller] = behind
        self._selector.register(caller, selectors.EVENT_READ)
        if behind:
            self._peers[behind] = caller
            self._selector.register(behind, selectors.EVENT_READ)

    def _forward(self, one: socket.socket) -> None:
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        peer = self._peers[one]
        if not data:
            self._drop(one)
            if peer:
                self._drop(peer)
        elif peer and not self._cut.is_set():
            peer.sendall(data)

    def _drop(self, one: socket.socket) -> None:
        if self._peers.pop(one, self) is not self:
            self._selector.unregister(one)
            one.close()

    def _drop_all(self) -> None:
        for one in tuple(self._peers):
            self._drop(one)


@contextmanager
def relay(target: int) -> Iterator[Relay]:
    """Run a relay for the length of a `with` block."""
    one = Relay(target)
    one.start()
    try:
        yield one
    finally:
        one.stop()
