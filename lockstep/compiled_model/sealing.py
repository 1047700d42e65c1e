"""The seal: the last bytes of a compiled model, a sha256 over all bytes before them.

Whoever knows the digest needs no seal. A file on a disk has no digest beside it, and the seal
tells a damaged one from a whole one. Protobuf merges what follows a message into it, so the
seal is one more metadata entry to every reader of ONNX.
"""

from __future__ import annotations

import hashlib

from onnx import ModelProto, StringStringEntryProto

from lockstep.errors import ModelRefused

__all__ = ["SEAL_KEY", "check_seal", "seal"]

SEAL_KEY = "lockstep.seal"
_HEX = 64


def seal(body: bytes) -> bytes:
    """`body`, a serialised ModelProto, with its seal."""
    return body + _entry(body)


def check_seal(data: bytes) -> None:
    """Raises ModelRefused when the bytes are not those that were sealed."""
    size = len(_entry(b""))
    body, found = data[:-size], data[-size:]
    if found[:-_HEX] != _entry(b"")[:-_HEX]:
        raise ModelRefused(
            f"the file ({len(data)} bytes) does not end with a seal:"
            " it is truncated, or was not compiled by Lockstep",
            next="fetch or compile it again: lockstep train USE_CASE",
        )
    expected = _entry(body)
    if found != expected:
        raise ModelRefused(
            f"the file was altered: its content has sha256 {_shown(expected)},"
            f" its seal says {_shown(found)}",
            next="fetch or compile it again: lockstep train USE_CASE",
        )


def _entry(body: bytes) -> bytes:
    entry = StringStringEntryProto(key=SEAL_KEY, value=hashlib.sha256(body).hexdigest())
    return bytes(ModelProto(metadata_props=[entry]).SerializeToString(deterministic=True))


def _shown(entry: bytes) -> str:
    return entry[-_HEX:].decode("ascii", "replace")
