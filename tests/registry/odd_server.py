"""A real HTTP server on loopback that answers as it is told: any status, headers and bytes."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Answer:
    """What is sent for each request, and then the connection is closed."""

    body: bytes = b""
    status: str = "200 OK"
    headers: dict[str, str] = field(default_factory=dict)
    claimed: int | None = None
    """The Content-Length, where it is not the body's."""
    raw: bytes | None = None
    """The whole answer instead, head and all."""
    holds: bool = False
    """Nothing follows, and the connection stays."""
    drips: bool = False
    """A byte at a time, without an end, for as long as somebody listens."""

    def bytes(self) -> bytes:
        if self.raw is not None:
            return self.raw
        length = len(self.body) if self.claimed is None else self.claimed
        lines = [f"HTTP/1.1 {self.status}", f"Content-Length: {length}", "Connection: close"]
        lines += [f"{name}: {text}" for name, text in self.headers.items()]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body


def as_json(document: Any, **more: Any) -> Answer:
    return Answer(
        json.dumps(document).encode(), headers={"Content-Type": "application/json"}, **more
    )


class OddServer:
    """`answer` is given to every request whose path has no answer of its own in `paths`."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.paths: dict[str, Answer] = {}
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=[client], daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client:
            client.settimeout(30)
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (part := client.recv(65536)):
                        return
                    head += part
                text = head.decode("latin-1")
                self.asked.append(text)
                path = text.split(" ")[1].partition("?")[0]
                answer = self.paths.get(path, self.answer)
                client.sendall(answer.bytes())
                while answer.drips:
                    client.sendall(b" ")
                if not answer.holds:
                    client.shutdown(socket.SHUT_WR)
                # The client closes first, so that nothing of ours is cut off.
                while client.recv(65536):
                    pass
            except OSError:
                return
