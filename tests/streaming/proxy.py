"""A TCP proxy in front of a service that can be cut and mended, so that only one client notices."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

from lockstep.local.home import free_port


class Proxy:
    """Forwards a free loopback port. `cut` breaks every connection and refuses new ones."""

    def __init__(self, target: tuple[str, int], url: str = "") -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._flowing = threading.Event()
        self._flowing.set()
        self._lost: set[socket.socket] = set()
        self._delay_s = 0.0
        self._gate: tuple[bytes, Callable[[], None]] | None = None
        self.reached = threading.Event()
        """What `at` waits for has come."""
        self.port = free_port()
        login = urlsplit(url).netloc.rpartition("@")[0]
        self.url = urlsplit(url)._replace(netloc=f"{login}@127.0.0.1:{self.port}").geturl()

    @classmethod
    def of(cls, url: str) -> Self:
        known = urlsplit(url)
        return cls((str(known.hostname), int(known.port or 0)), url)

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._flowing.set()  # whose connection is closed ends

    def cut(self) -> None:
        with self._lock:
            # Who connects from here on is refused, or closed by `_accept`: none survives.
            sockets = [self._listener] if self._listener else []
            self._listener = None
            sockets += self._open
            self._open = []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def freeze(self) -> None:
        """Keep every connection and forward nothing, as a server that hangs does."""
        self._flowing.clear()

    def at(self, marker: bytes, happens: Callable[[], None]) -> None:
        """`cut` or `freeze` at the moment that the client sends these bytes, in their place.

        So it is in the middle of that, however late the test itself comes to look.
        """
        self.reached.clear()
        self._gate = marker, happens

    def slow(self, seconds: float) -> None:
        """Hold each piece back for so long."""
        self._delay_s = seconds

    def lose(self) -> None:
        """Forget the connections that there are without a word to either side; new ones work."""
        with self._lock:
            self._lost |= set(self._open)

    def mend(self) -> None:
        self._flowing.set()
        self._delay_s = 0.0
        if self._listener:
            return
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    if self._listener is not listener:
                        client.close()
                        server.close()
                        return
                    self._open += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        tail = b""
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self._gate:
                    # A piece may end within the marker.
                    tail = self._passed(tail + data)
                self._flowing.wait()
                if self._delay_s:
                    time.sleep(self._delay_s)
                if source not in self._lost:
                    target.sendall(data)
        if source not in self._lost:
            # Both ends go together: half a connection would keep a dead server's port.
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _passed(self, data: bytes) -> bytes:
        """Look for the marker; what may be the beginning of it."""
        with self._lock:
            if not self._gate:
                return b""
            marker, happens = self._gate
            if marker not in data:
                return data[-len(marker) + 1 :]
            self._gate = None
        happens()
        self.reached.set()
        return b""
