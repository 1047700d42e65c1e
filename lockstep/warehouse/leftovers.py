"""Stage tables of dead attempts, and when an attempt is dead.

No single session lives as long as an attempt: a job stages it, later tasks check and publish it,
perhaps hours later. So what counts as dead depends on how far it came:

- staging: dead when the session that began it has ended. The attempt names the server process of
  its job, and Postgres ends that when the job is gone, however it died. (A pooler that shares
  sessions between clients would break this.)
- staged: nobody needs to be alive, so age decides, except where it has become useless: a higher
  attempt at this day was published (this one would be refused) or a retry of the same run staged
  the day again (which is the one that will be published).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg

__all__ = ["KEEP_STAGED", "clear_leftovers"]

KEEP_STAGED = timedelta(days=7)
"""How long a staged attempt may wait for its check and publish; failed checks are kept as long."""


def clear_leftovers(conn: psycopg.Connection[Any], keep: timedelta = KEEP_STAGED) -> list[int]:
    """Drop the stage tables of dead attempts of this use case; the attempts' numbers.

    A table that somebody is reading is left for the next time.
    """
    return [number for (number,) in conn.execute("SELECT clear_leftovers(%s)", (keep,))]
