"""A broker that goes down as a real one does: at last it names no brokers at all, then it is away.

It speaks just enough of Kafka's protocol for clients to ask for metadata. A real broker answers
like this between leaving its cluster and closing its port: too short a time for a test to meet.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

_METADATA, _API_VERSIONS = 3, 18
_KNOWN = {_METADATA: 4, _API_VERSIONS: 3}
"""The one version of each request that it takes."""
_NO_LEADER = 5


class LeavingBroker:
    """One broker with one topic of one partition, `events`, on a loopback port."""

    def __init__(self) -> None:
        self._leaves = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        for each in self._open:
            _close(each)

    def leave(self) -> None:
        """Refuse connections, and end each of those that there are with its next question."""
        self._leaves = True
        _close(self._listener)

    def come_back(self) -> None:
        self._leaves = False
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._listen()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error), client.makefile("rb") as requests:
            while size := requests.read(4):
                request = requests.read(*struct.unpack(">i", size))
                key, _, correlation = struct.unpack_from(">hhi", request)
                last = self._leaves and key == _METADATA
                body = self._metadata() if key == _METADATA else self._versions()
                client.sendall(struct.pack(">ii", len(body) + 4, correlation) + body)
                if last:
                    break
        _close(client)

    def _versions(self) -> bytes:
        body = struct.pack(">hB", 0, len(_KNOWN) + 1)
        for key, version in _KNOWN.items():
            body += struct.pack(">hhhB", key, version, version, 0)
        return body + struct.pack(">iB", 0, 0)

    def _metadata(self) -> bytes:
        error, leader = (_NO_LEADER, -1) if self._leaves else (0, 1)
        brokers = struct.pack(">i", 0)
        if not self._leaves:
            brokers = struct.pack(">ii", 1, 1) + _string("127.0.0.1")
            brokers += struct.pack(">ih", self._port, -1)
        body = struct.pack(">i", 0) + brokers + struct.pack(">hii", -1, leader, 1)
        body += struct.pack(">h", 0) + _string("events") + struct.pack(">?i", False, 1)
        return body + struct.pack(">hiiiiii", error, 0, leader, 1, 1, 1, 1)


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
