"""Postgres's errors by SQLSTATE: what helps against each. The only place that says so."""

from __future__ import annotations

import psycopg

from lockstep.trouble import Trouble

__all__ = ["CLASSES", "STATES", "postgres_trouble", "state_trouble"]

CLASSES = {
    "08": Trouble.PASSING,  # the connection broke, or none was to be had
    "22": Trouble.OWN,  # a value that its type does not take
    "23": Trouble.OWN,  # a value that a constraint does not take
    "40": Trouble.PASSING,  # rolled back for another one's sake: deadlock, serialization
    "53": Trouble.PASSING,  # no disk, memory or connection left just now
    "54": Trouble.OWN,  # too large: a value for an index, a row for a page
    "57": Trouble.PASSING,  # cancelled, shut down, starting up
}
"""The first two characters. A class that is not here is final."""

STATES = {
    "23503": Trouble.FINAL,  # foreign keys hold our own numbers, never a value of an event
    "25006": Trouble.PASSING,  # read only: the former primary of a failover
    "25P03": Trouble.PASSING,  # slept too long inside a transaction: hung up on
    "25P04": Trouble.PASSING,  # a transaction took too long: hung up on
    "54001": Trouble.FINAL,  # the statement's limits, not a row's
    "54011": Trouble.FINAL,
    "54023": Trouble.FINAL,
    "55006": Trouble.PASSING,  # somebody else uses it
    "55P03": Trouble.PASSING,  # a lock did not come in time
    "57P04": Trouble.FINAL,  # the database was dropped
    "58000": Trouble.PASSING,  # the machine under the server: its disk, its network storage
    "58030": Trouble.PASSING,
}
"""Where a state differs from its class."""


def state_trouble(state: str | None) -> Trouble:
    """Of a SQLSTATE. None is a connection that broke before the server could give one."""
    if state is None:
        return Trouble.PASSING
    return STATES.get(state) or CLASSES.get(state[:2], Trouble.FINAL)


def postgres_trouble(error: psycopg.Error) -> Trouble:
    """Of what psycopg raises, its own refusals included, which have no state."""
    if error.sqlstate is None:
        if isinstance(error, psycopg.DataError):  # a NUL in a string, a number out of range
            return Trouble.OWN
        if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return Trouble.FINAL
    return state_trouble(error.sqlstate)
