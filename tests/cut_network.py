"""A stretch of network between two processes of a test that can be cut and mended."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Link:
    """Leads connections to `url` on to a server. Cut, it breaks those that are open and takes no more."""

    def __init__(self, listening: socket.socket, server: tuple[str, int]) -> None:
        self._listening = listening
        self._server = server
        self._is_cut = threading.Event()
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where the server is found through it."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def cut(self) -> None:
        """Break all connections: neither side hears of the other any more."""
        with self._lock:
            self._is_cut.set()
            for end in self._ends:
                _break(end)
            self._ends.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut.clear()

    def serve(self) -> None:
        """Lead connections on until the listening socket is closed."""
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._lead_on(near)

    def _lead_on(self, near: socket.socket) -> None:
        with self._lock:
            if self._is_cut.is_set():
                near.close()
                return
            far = socket.create_connection(self._server)
            self._ends |= {near, far}
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=_carry, args=(source, target), daemon=True).start()


@contextmanager
def link_to(server_url: str) -> Iterator[Link]:
    """Yield a way to a server of loopback, which is gone after the block."""
    parts = urlsplit(server_url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        link = Link(listening, (parts.hostname, parts.port))
        thread = threading.Thread(target=link.serve)
        thread.start()
        try:
            yield link
        finally:
            _break(listening)
            thread.join()
            link.cut()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    _break(target)


def _break(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
