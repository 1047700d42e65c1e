"""Ports and HTTP on this machine's loopback."""

from __future__ import annotations

import socket
import urllib.request
from http.client import HTTPException

import psutil

__all__ = ["http_get", "http_missing", "port_is_free", "port_owner"]

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def port_owner(port: int) -> str:
    """Who listens on `port`, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass
    return "another program"


def http_get(url: str) -> bytes:
    """What a service on loopback answers. Never through a proxy."""
    with _direct.open(url, timeout=5) as answer:
        body: bytes = answer.read()
        return body


def http_missing(url: str) -> str | None:
    """None when `url` answers 200, else what it answers."""
    try:
        http_get(url)
    except (OSError, HTTPException) as error:
        return f"{url}: {error}"
    return None
