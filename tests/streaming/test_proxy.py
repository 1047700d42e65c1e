"""The proxy that fault tests cut and freeze: what is cut stays cut, and where is no luck."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.streaming.proxy import Proxy


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def connected(proxy: Proxy) -> socket.socket:
    client = socket.socket()
    client.connect(("127.0.0.1", proxy.port))
    return client


def test_who_connects_while_it_is_cut_is_cut(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection was accepted before and is not noted yet."""
    connect = socket.create_connection

    def cut_meanwhile(address: tuple[str, int]) -> socket.socket:
        made = connect(address)
        proxy.cut()
        return made

    monkeypatch.setattr(socket, "create_connection", cut_meanwhile)
    with Proxy(server.getsockname()) as proxy, connected(proxy) as client:
        client.settimeout(60)
        assert client.recv(1) == b""


def test_it_freezes_before_what_it_was_told_to(server: socket.socket) -> None:
    """Also where the marker comes in two pieces."""
    with Proxy(server.getsockname()) as proxy, connected(proxy) as client:
        proxy.at(b"here", proxy.freeze)
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"before he")
            assert accepted.recv(100) == b"before he"
            client.sendall(b"re and after")
            assert proxy.reached.wait(60)
            proxy.mend()
            assert accepted.recv(100) == b"re and after"
