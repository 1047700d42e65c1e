"""A day's partition of the stream, made without making a reader wait.

`CREATE TABLE … PARTITION OF` takes an exclusive lock on the parent: it waits for every open
query and every later query waits for it. A table that is made alone and then attached takes a
lock that readers and writers do not notice. The owner's function `make_day` does so, for the
stream here and for the batch when an attempt begins: a role that made its own tables would own
them, and could change what is in them.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg

__all__ = ["ensure_stream_day"]


def ensure_stream_day(conn: psycopg.Connection[Any], day: date) -> bool:
    """Make the partition of predictions_stream for one UTC day. True if it was not there.

    Runs in a transaction of its own: `conn` must not be inside one. Safe to call from several
    workers at once, and cheap when the partition exists. Who holds it up is waited for less long
    than a worker waits for any answer, so that a lock is not taken for a warehouse that is away.
    """
    with conn.transaction():
        conn.execute("SET LOCAL lock_timeout = '5s'")
        made = conn.execute("SELECT make_day('predictions_stream', %s)", (day,)).fetchone()
    return made == (True,)
