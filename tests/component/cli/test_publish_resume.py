"""A large archive whose upload is interrupted: by its sender, or by the line between."""

import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from freesolo.client.hub import HubClient
from freesolo.domain.refs import EnvRef
from freesolo.package.archive import Archive
from freesolo.schemas.uploads import PIECE_BYTES, RESUMABLE_BYTES
from tests.factories import make_environment, pack_folder
from tests.hubs import LiveHub

REF = EnvRef("local", "agree")


class Interrupted(Exception):
    """What Ctrl-C would be."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = make_environment(tmp_path_factory.mktemp("large") / "agree")
    (folder / "noise.bin").write_bytes(os.urandom(RESUMABLE_BYTES + 1))
    return pack_folder(folder)


class CuttingProxy(socketserver.ThreadingTCPServer):
    """Forwards to a hub on loopback, but breaks a connection once, after so many bytes to it."""

    def __init__(self, url: str, *, after: int) -> None:
        super().__init__(("127.0.0.1", 0), Forwarding)
        self.hub = (urlsplit(url).hostname, urlsplit(url).port)
        self.left = after

    def allow(self, size: int) -> bool:
        self.left -= size
        return not self.left <= 0 < self.left + size


class Forwarding(socketserver.BaseRequestHandler):
    server: CuttingProxy

    def handle(self) -> None:
        with socket.create_connection(self.server.hub) as hub:
            back = threading.Thread(target=pump, args=(hub, self.request))
            back.start()
            pump(self.request, hub, allow=self.server.allow)
            back.join()


def pump(
    source: socket.socket, sink: socket.socket, *, allow: Callable[[int], bool] = bool
) -> None:
    """Copy until one end is closed, then close both."""
    with suppress(OSError):
        while (chunk := source.recv(1 << 16)) and allow(len(chunk)):
            sink.sendall(chunk)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting_proxy(url: str, *, after: int) -> Iterator[str]:
    """Serve a `CuttingProxy`; yield its address."""
    with CuttingProxy(url, after=after) as proxy:
        serving = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            serving.join()


def test_a_publish_goes_on_where_the_last_one_was_stopped(
    live_hub: LiveHub, large: Archive
) -> None:
    def stop(offset: int) -> None:
        if offset >= PIECE_BYTES:
            raise Interrupted

    with HubClient(live_hub.url, live_hub.user_key) as hub:
        with pytest.raises(Interrupted):
            hub.publish(REF, "0.1.0", large, sent=stop)
        offsets: list[int] = []
        published = hub.publish(REF, "0.1.0", large, sent=offsets.append)

    assert offsets == [PIECE_BYTES, 2 * PIECE_BYTES, large.size]
    assert (published.status, published.tree_digest) == ("created", large.tree_digest)


def test_a_lost_connection_costs_only_the_piece_it_carried(
    live_hub: LiveHub, large: Archive
) -> None:
    offsets: list[int] = []
    with (
        cutting_proxy(live_hub.url, after=PIECE_BYTES + PIECE_BYTES // 2) as url,
        HubClient(url, live_hub.user_key) as hub,
    ):
        published = hub.publish(REF, "0.1.0", large, sent=offsets.append)

    assert offsets[:2] == [0, PIECE_BYTES]
    assert offsets[-1] == large.size
    assert published.archive_digest == large.archive_digest


def test_another_archive_does_not_go_on_with_the_first(
    live_hub: LiveHub, large: Archive, tmp_path: Path
) -> None:
    def stop(offset: int) -> None:
        if offset >= PIECE_BYTES:
            raise Interrupted

    folder = make_environment(tmp_path / "agree")
    (folder / "noise.bin").write_bytes(os.urandom(RESUMABLE_BYTES + 1))
    offsets: list[int] = []
    with HubClient(live_hub.url, live_hub.user_key) as hub:
        with pytest.raises(Interrupted):
            hub.publish(REF, "0.1.0", large, sent=stop)
        hub.publish(REF, "0.1.0", pack_folder(folder), sent=offsets.append)

    assert offsets[0] == 0


def test_the_bytes_of_a_small_archive_are_told_too(live_hub: LiveHub, tmp_path: Path) -> None:
    archive = pack_folder(make_environment(tmp_path / "agree"))
    offsets: list[int] = []
    with HubClient(live_hub.url, live_hub.user_key) as hub:
        published = hub.publish(REF, "0.1.0", archive, stage=True, sent=offsets.append)

    assert offsets[-1] == archive.size
    assert published.state == "staged"
