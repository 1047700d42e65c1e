"""The stream's rows of one day, as they were stored, in the driver's memory.

A row takes some hundred bytes and four more a window: a day of ten million rows with twelve
windows needs about three gigabytes here and in Spark's driver.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lockstep.errors import Unreachable, UsageError
from lockstep.settings import Settings
from lockstep.warehouse.audits import stream_rows
from lockstep.warehouse.connect import connect, conninfo, where
from lockstep.windows.semantics import VALUES

__all__ = ["Cut", "Stored", "read_stored"]

Cut = dict[str, list[int]]
"""State topic -> by partition, the offset up to which it had been read."""

# The stretch that a row's offset lies in, of the transaction that wrote the row.
_ROWS = """
SELECT p.event_id, p.event_time, p.kafka_partition, p.kafka_offset, p.window_values,
       p.incomplete, a.digest, a.model_version, b.cut::text AS cut
FROM predictions_stream p
JOIN streams t ON t.stream_id = p.stream_id
JOIN approvals a ON a.sequence = p.approval
LEFT JOIN LATERAL (
    SELECT s.cut FROM stream_batches s
    WHERE p.incomplete AND s.stream_id = p.stream_id AND s.kafka_partition = p.kafka_partition
      AND s.first_offset <= p.kafka_offset AND s.next_offset > p.kafka_offset
      AND s.committed_at = p.scored_at
    ORDER BY s.first_offset DESC LIMIT 1
) b ON true
WHERE p.event_date = $1::date AND t.topic = $2
ORDER BY p.event_time, p.event_id
"""


@dataclass(frozen=True, eq=False)
class Stored:
    """Rows in the order of event time and id; all arrays have one element a row."""

    ids: pa.Array
    times: pa.Array
    """timestamp[us, UTC]"""
    partitions: pa.Array
    offsets: pa.Array
    """Where the event lay that was scored."""
    values: pa.Array
    """list<float>; null where none were stored."""
    digest: np.ndarray[Any, Any]
    incomplete: np.ndarray[Any, np.dtype[np.bool_]]
    cut: np.ndarray[Any, np.dtype[np.int32]]
    """Index into `cuts`; -1 for a row that is not incomplete, or whose cut is not known."""
    cuts: list[Cut]
    versions: dict[str, int]
    """Digest -> model version."""

    def __len__(self) -> int:
        return len(self.ids)

    def matrix(self, rows: Any, width: int) -> tuple[Any, Any]:
        """float32[rows, width], and for which of `rows` so many values were stored."""
        values = self.values.take(pa.array(rows))
        has = pc.fill_null(pc.equal(pc.list_value_length(values), width), False)
        known = has.to_numpy(zero_copy_only=False)
        found = np.full((len(rows), width), np.nan, np.float32)
        flat = pc.list_flatten(values.filter(has)).to_numpy(zero_copy_only=False)
        found[known] = flat.reshape(-1, width)
        return found, known


def read_stored(settings: Settings, use_case: str, topic: str, day: date) -> Stored:
    """The stream's rows. Raises UsageError when there are none, naming the topics that have."""
    with connect(settings, "scorer", use_case) as connection:
        known = stream_rows(connection, day)
    if topic not in known:
        others = ", ".join(f"{name} ({rows:,} rows)" for name, rows in known.items())
        raise UsageError(
            f"nothing to audit: the stream of {topic} scored no event of {day}"
            f" (others did: {others})"
            if others
            else f"nothing to audit: no stream scored an event of {day}",
            left="no audit was stored",
            next=f"lockstep audit {use_case} --partition {day} --topic {next(iter(known))}"
            if known
            else f"lockstep stream {use_case}, or name a day on which it ran",
        )
    table = _fetch(conninfo(settings, "scorer", use_case), day, topic)
    cuts = table["cut"].combine_chunks().dictionary_encode()
    digests = table["digest"].to_numpy()
    return Stored(
        ids=table["event_id"].combine_chunks(),
        times=table["event_time"].combine_chunks().cast(pa.timestamp("us", "UTC")),
        partitions=table["kafka_partition"].combine_chunks(),
        offsets=table["kafka_offset"].combine_chunks(),
        values=table[VALUES].combine_chunks(),
        digest=digests,
        incomplete=table["incomplete"].to_numpy(),
        cut=pc.fill_null(cuts.indices, -1).to_numpy(),
        cuts=[json.loads(text) for text in cuts.dictionary.to_pylist()],
        versions=dict(zip(digests, table["model_version"].to_pylist(), strict=True)),
    )


def _fetch(info: str, day: date, topic: str) -> pa.Table:
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise UsageError(
            "an audit needs the ADBC driver for Postgres, which is not installed",
            next="uv sync --extra batch",
        ) from None
    try:
        with dbapi.connect(info) as connection, connection.cursor() as cursor:
            cursor.execute(_ROWS, (day.isoformat(), topic))
            return cursor.fetch_arrow_table()
    except dbapi.Error as error:
        raise Unreachable(
            f"the warehouse at {where(info)} stopped answering: {str(error).splitlines()[0]}",
            left="no audit was stored",
            next="lockstep status; then run the same command again",
        ) from error
