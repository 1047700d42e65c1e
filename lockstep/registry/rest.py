"""A few calls of MLflow's REST interface, over urllib: importing mlflow takes four seconds.

What answers at the address need not be MLflow: a proxy, a log-in page, another program. An answer
of another shape is a UsageError that says what was got; what passes (no answer, one that breaks
off or takes too long, HTTP 5xx) is Unreachable.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, Any, TypeVar

import msgspec

from lockstep.errors import Unreachable, UsageError, printable

__all__ = ["Heard", "NotFound", "Rest", "unheard"]

T = TypeVar("T")
Heard = Callable[[], None]
"""Called for each piece of an answer that comes."""

_TIMEOUT_S = 30.0
"""Of each wait for some bytes."""
_WHOLE_S = 600.0
"""Of a whole answer, however steadily it drips."""
_LARGEST = 2**30
"""Bytes. A compiled model has megabytes, a page of versions less."""
_LATER = (408, 425, 429)
"""Client errors that say: later."""
_NEXT = "correct LOCKSTEP_MLFLOW: http://HOST:PORT of MLflow (it may hold a user and a password)"


def unheard() -> None:
    """Nobody waits who must say that it goes on."""


class NotFound(UsageError):
    """The server answers that there is no such thing: for most callers an answer like others."""


class Rest:
    """One MLflow server, at an address that `lockstep.addresses.http_fault` takes.

    A user and a password may stand in it; they are never shown.
    """

    def __init__(self, address: str, heard: Heard = unheard) -> None:
        self._heard = heard
        parts = urllib.parse.urlsplit(address)
        where = parts.netloc.rpartition("@")[2]
        self.url = f"{parts.scheme}://{where}{parts.path.rstrip('/')}"
        self._headers = {"Content-Type": "application/json"}
        self.login: tuple[str, str] | None = None
        if parts.username is not None:
            unquote = urllib.parse.unquote
            self.login = unquote(parts.username), unquote(parts.password or "")
            basic = base64.b64encode(":".join(self.login).encode()).decode()
            self._headers["Authorization"] = f"Basic {basic}"
        # A proxy that the environment names cannot reach this machine's own loopback.
        proxies = [urllib.request.ProxyHandler({})] if _loopback(parts.hostname or "") else []
        self._opener = urllib.request.build_opener(_Stay, *proxies)

    def get(self, path: str, query: Mapping[str, str | int], shape: type[T]) -> T:
        """GET below /api/2.0/mlflow: the answer in its shape."""
        return self._shaped(path, self.read(f"/api/2.0/mlflow/{path}", query), shape)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST below /api/2.0/mlflow: the answer's JSON, an object."""
        answer = self._send(f"/api/2.0/mlflow/{path}", json.dumps(body).encode())
        return self._shaped(path, answer, dict[str, Any])

    def read(self, path: str, query: Mapping[str, str | int]) -> bytes:
        """GET any path: the answer's bytes."""
        return self._send(f"{path}?{urllib.parse.urlencode(query)}", None)

    def refuse(self, what: str) -> UsageError:
        """The error for an answer that MLflow does not give."""
        return UsageError(f"what answers at {self.url} is no model registry: {what}", next=_NEXT)

    def _shaped(self, path: str, answer: bytes, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(answer, type=shape, strict=False)
        except msgspec.ValidationError as error:
            wrong = f"in another shape ({str(error)[:200]})"
        except (ValueError, RecursionError):
            wrong = "no JSON"
        raise self.refuse(f"{path} gives {wrong}: {_shown(answer)}")

    def _send(self, path: str, body: bytes | None) -> bytes:
        """Raises NotFound, UsageError for what a retry cannot help, Unreachable otherwise."""
        request = urllib.request.Request(self.url + path, body, self._headers)  # noqa: S310
        place = path.partition("?")[0]
        try:
            try:
                with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                    if answer.status != 200:
                        raise self.refuse(f"HTTP {answer.status} on {place}")
                    return _whole(answer, self._heard)
            except urllib.error.HTTPError as error:
                with error:
                    said = error.read(2000)
                raise self._refused(error, place, said) from None
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise self._unreachable(reason)

    def _refused(self, error: urllib.error.HTTPError, place: str, said: bytes) -> Exception:
        code, message = _told(said)
        reason = f"HTTP {error.code} on {place}: {message}"
        absent = NotFound(
            f"the model registry at {self.url} has no such thing: {reason}", next=_NEXT
        )
        if code == "RESOURCE_DOES_NOT_EXIST":
            return absent
        if error.code >= 500 or error.code in _LATER:
            return self._unreachable(reason)
        if 300 <= error.code < 400:
            # Following it would carry user and password to wherever it points.
            to = _without_login(str(error.headers.get("Location", "")))
            return self.refuse(f"HTTP {error.code} on {place} sends us to {to or 'nowhere'}")
        if error.code == 404 and code is None:
            # A file that a version lacks, where this is MLflow; else everything is lacking.
            return absent if self._is_mlflow() else self.refuse(reason)
        return UsageError(f"the model registry at {self.url} refuses: {reason}", next=_NEXT)

    def _is_mlflow(self) -> bool:
        try:
            with self._opener.open(f"{self.url}/version", timeout=_TIMEOUT_S) as answer:
                return re.fullmatch(rb"\d+\.\d+[\w.]*\s*", answer.read(100)) is not None
        except (OSError, HTTPException):
            return False

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(
            f"the model registry at {self.url} does not answer: {printable(reason, 400)}",
            next="lockstep status; lockstep up starts a local one, or set LOCKSTEP_MLFLOW",
        )


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it becomes an HTTPError with its 3xx code."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def _whole(answer: HTTPResponse, heard: Heard) -> bytes:
    """The whole body. Raises OSError for one that does not end in time, or that is too large."""
    parts: list[bytes] = []
    size, deadline = 0, time.monotonic() + _WHOLE_S
    # As much as is there, so that a body that drips is noticed.
    while part := answer.read1(1 << 20):
        heard()
        parts.append(part)
        size += len(part)
        if size > _LARGEST:
            raise OSError(f"the answer is larger than {_LARGEST:,} bytes")
        if time.monotonic() > deadline:
            raise OSError(f"after {_WHOLE_S:.0f} s and {size:,} bytes the answer has no end")
    if answer.length:  # read1 does not tell of a body that breaks off
        raise OSError(f"the answer broke off: {size:,} bytes came, {answer.length:,} are missing")
    return b"".join(parts)


def _without_login(address: str) -> str:
    """Where a server sends us, bounded, without user, password, query and fragment."""
    scheme, found, rest = re.split(r"[?#]", address, maxsplit=1)[0].rpartition("://")
    return printable(scheme + found + rest.rpartition("@")[2], 200)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _told(said: bytes) -> tuple[str | None, str]:
    """MLflow's error code, None where this is none of its errors; and the message, bounded."""
    try:
        found = msgspec.json.decode(said, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None, _shown(said)
    code = found.get("error_code")
    message = printable(str(found.get("message", _shown(said))), 200)
    return (code if isinstance(code, str) else None), message


def _shown(answer: bytes) -> str:
    """What was got, in a few words."""
    if not answer:
        return "nothing (0 bytes)"
    start = printable(answer[:120].decode("utf-8", "replace"), 120)
    return f"{len(answer):,} bytes, which begin with {start!r}"
