"""A few calls of MLflow's REST interface, over urllib: importing mlflow takes four seconds."""

from __future__ import annotations

import base64
import ipaddress
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

from lockstep.errors import Unreachable, UsageError

__all__ = ["NotFound", "Rest"]

_TIMEOUT_S = 30.0
_LATER = (408, 425, 429)
"""Client errors that say: later."""


class NotFound(Exception):
    """The server answers that there is no such thing."""


class Rest:
    """One MLflow server. A user and a password may stand in its address; they are never shown."""

    def __init__(self, address: str) -> None:
        parts = urllib.parse.urlsplit(address)
        host = parts.hostname or ""
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        self._headers = {"Content-Type": "application/json"}
        self.login: tuple[str, str] | None = None
        if parts.username is not None:
            self.login = (
                urllib.parse.unquote(parts.username),
                urllib.parse.unquote(parts.password or ""),
            )
            basic = base64.b64encode(":".join(self.login).encode()).decode()
            self._headers["Authorization"] = f"Basic {basic}"
        # A proxy that the environment names cannot reach this machine's own loopback.
        handlers = [urllib.request.ProxyHandler({})] if _loopback(host) else []
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, query: Mapping[str, str | int]) -> Any:
        """GET below /api/2.0/mlflow: the answer's JSON."""
        return json.loads(self.read(f"/api/2.0/mlflow/{path}", query))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST below /api/2.0/mlflow: the answer's JSON."""
        return json.loads(self._send(f"/api/2.0/mlflow/{path}", json.dumps(body).encode()) or b"{}")

    def read(self, path: str, query: Mapping[str, str | int]) -> bytes:
        """GET any path: the answer's bytes."""
        return self._send(f"{path}?{urllib.parse.urlencode(query)}", None)

    def _send(self, path: str, body: bytes | None) -> bytes:
        """Raises NotFound, UsageError for a request that it refuses, Unreachable otherwise."""
        request = urllib.request.Request(self.url + path, body, self._headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            said = error.read()[:2000].decode("utf-8", "replace")
            if error.code == 404 or "RESOURCE_DOES_NOT_EXIST" in said:
                raise NotFound(said) from None
            reason = f"HTTP {error.code} on {path.partition('?')[0]}: {_message(said)}"
            if error.code < 500 and error.code not in _LATER:
                raise UsageError(
                    f"the model registry at {self.url} refuses: {reason}",
                    next="correct LOCKSTEP_MLFLOW (it may hold a user and a password)",
                ) from None
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise Unreachable(
            f"the model registry at {self.url} does not answer: {reason}",
            next="lockstep status; lockstep up starts a local one, or set LOCKSTEP_MLFLOW",
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _message(said: str) -> str:
    try:
        found = json.loads(said)
    except ValueError:
        return said[:200]
    return str(found.get("message", said))[:200] if isinstance(found, dict) else said[:200]
