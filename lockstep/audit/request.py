"""What is audited: small facts that travel as JSON, so that a job needs no pipeline.toml."""

from __future__ import annotations

from datetime import date

import msgspec

from lockstep.errors import UsageError
from lockstep.pipeline import Pipeline

__all__ = ["Request", "decode", "encode", "request_of"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The predictions that one topic's stream made of the events of one UTC day."""

    use_case: str
    day: date
    run_id: str
    topic: str
    topics: dict[str, str]
    """Lake table of state events -> their topic, for the offsets of a cut."""


def request_of(pipeline: Pipeline, day: date, run_id: str, topic: str | None = None) -> Request:
    """The audit of a topic: the pipeline's own, or one that its events were replayed into."""
    if topic not in (None, pipeline.topics.events):
        pipeline = pipeline.on(str(topic))
    events = pipeline.topics.events
    return Request(
        use_case=pipeline.use_case,
        day=day,
        run_id=run_id,
        topic=events,
        topics={**pipeline.state, pipeline.lake_table: events},
    )


def encode(request: Request) -> str:
    """One line of JSON."""
    return msgspec.json.encode(request).decode()


def decode(text: str) -> Request:
    """Raises UsageError when `text` is not what `encode` made."""
    try:
        return msgspec.json.decode(text, type=Request)
    except msgspec.MsgspecError as error:
        raise UsageError(
            f"this is no request of an audit: {error} (value: {text[:80]!r})",
            next="lockstep audit USE_CASE --partition DAY",
        ) from None
