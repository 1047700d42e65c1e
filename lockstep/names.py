"""What use cases, topics and lake tables may be called: one rule for everybody who takes the name.

Each function says what is wrong with a name, as the end of a sentence that shows it, or None.
"""

from __future__ import annotations

import re

__all__ = ["lake_name_fault", "topic_fault", "use_case_fault"]

_USE_CASE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN = re.compile(r"pg_.*|public|information_schema|lockstep")
"""Schemas of Postgres itself, and the name that the stack's own log-ins begin with."""
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_LAKE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def use_case_fault(name: str) -> str | None:
    """It names a folder, a schema and roles of Postgres, DAGs of Airflow and a model of MLflow."""
    if not _USE_CASE.fullmatch(name):
        return (
            "cannot name a use case: lower-case letters, digits and _, beginning with a letter,"
            " at most 40"
        )
    if _TAKEN.fullmatch(name):
        return "cannot name a use case: Postgres or the stack itself has that name already"
    return None


def topic_fault(name: str) -> str | None:
    """The rule of Kafka."""
    if not _TOPIC.fullmatch(name) or name in (".", ".."):
        return "is no name for a topic: letters, digits, dots, dashes and underscores, at most 249"
    return None


def lake_name_fault(name: str) -> str | None:
    """Plain names sort the same in Python, in Spark and in a URI."""
    if not _LAKE.fullmatch(name):
        return (
            "is no name for a folder of the lake: letters, digits, dots, dashes and underscores,"
            " beginning with a letter or a digit, at most 200"
        )
    return None
