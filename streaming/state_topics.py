"""The state topics of a worker: whether they can keep what its windows promise.

A window is a promise about events that happened hours ago. A topic that forgets sooner, that
compacts, or whose records carry another clock than the deployment says cannot keep it, and the
worker says so before it is ready instead of being wrong later.
"""

from __future__ import annotations

from typing import Any

from lockstep.errors import Terminal
from lockstep.kafka.reader import Reader
from lockstep.pipeline import Pipeline
from lockstep.windows.semantics import WindowSet

__all__ = ["require_kept_promises"]

_HOUR_MS = 3_600_000


def require_kept_promises(
    reader: Reader, pipeline: Pipeline, windows: WindowSet
) -> dict[str, int | None]:
    """State topic -> how long it keeps records, microseconds; None: for ever.

    Raises Terminal naming a topic that cannot keep a window's promise, and why.
    """
    for source in windows.sources.values():
        if source.clock_skew > pipeline.stream.clock_skew_s * 1_000_000:
            raise Terminal(
                f"the windows over {source.name} allow clocks to be"
                f" {source.clock_skew / 1e6:g} s ahead, but landing refuses what is more than"
                f" stream.clock_skew_s = {pipeline.stream.clock_skew_s:g} s ahead: the lake would"
                " lack events that were scored",
                left="nothing was scored; events wait in Kafka",
                next="set stream.clock_skew_s in pipeline.toml to the sources' clock_skew",
            )
    sources = {pipeline.topic_of(source): source for source in windows.sources}
    kept: dict[str, int | None] = {}
    for topic, config in reader.configs({*sources, pipeline.topics.events}).items():
        source = sources.get(topic)
        of = [w for w in windows.windows if source in (None, w.source)]
        window = max(of, key=lambda w: w.over)
        told: dict[str, Any] = {"left": "nothing was scored; events wait in Kafka"}
        expected, found = pipeline.stream.timestamps, config.get("message.timestamp.type")
        if found != expected:
            raise Terminal(
                f"the records of {topic} carry {found}, but pipeline.toml says {expected}:"
                f" window {window.name} could not tell which events were on time",
                next=f"set message.timestamp.type={expected} on {topic}, or correct"
                " stream.timestamps",
                **told,
            )
        if source is None:
            continue
        if "compact" in (config.get("cleanup.policy") or ""):
            raise Terminal(
                f"{topic} is compacted: events that window {window.name} counts may be gone",
                next=f"set cleanup.policy=delete on {topic}",
                **told,
            )
        if int(config.get("retention.bytes") or -1) >= 0:
            raise Terminal(
                f"{topic} deletes records by size (retention.bytes ="
                f" {config['retention.bytes']}): nobody knows how long window {window.name} has"
                " its events",
                next=f"set retention.bytes=-1 on {topic}, and its retention.ms",
                **told,
            )
        keeps, needed = int(config.get("retention.ms") or -1), _needed_ms(pipeline, windows, source)
        if 0 <= keeps < needed:
            raise Terminal(
                f"{topic} keeps records for {keeps / _HOUR_MS:.1f} hours; window {window.name} and"
                f" events that come {pipeline.stream.max_lateness_h:g} hours late need"
                f" {needed / _HOUR_MS:.1f}: {(needed - keeps) / _HOUR_MS:.1f} hours are missing",
                next=f"set retention.ms={needed} or more on {topic}, or lower"
                " stream.max_lateness_h",
                **told,
            )
        kept[topic] = keeps * 1000 if keeps >= 0 else None
    return kept


def _needed_ms(pipeline: Pipeline, windows: WindowSet, source: str) -> int:
    lateness = pipeline.stream.max_lateness_h * _HOUR_MS
    skew = windows.sources[source].clock_skew
    return int(lateness) + -(-(windows.reach(source) + skew) // 1000)
