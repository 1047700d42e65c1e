"""Messages with values that no broker gives at will. The client's own cannot be made by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["message"]


def message(
    place: tuple[str, int, int],
    key: Any,
    value: Any,
    headers: list[tuple[str, bytes | None]] | None = None,
    ms: int = 0,
) -> Any:
    """What a consumer would hand over: `place` is topic, partition and offset."""
    return _Message(*place, key, value, headers, ms)


@dataclass(frozen=True)
class _Message:
    _topic: str
    _partition: int
    _offset: int
    _key: Any
    _value: Any
    _headers: list[tuple[str, bytes | None]] | None
    _ms: int

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> Any:
        return self._key

    def value(self) -> Any:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def error(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, self._ms
