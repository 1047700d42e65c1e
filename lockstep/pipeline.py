"""pipeline.toml: how one use case is deployed. Data beside the worker, read with tomllib.

It names topics, lake table, schedule and gates. It names nothing of the model: what scores
reads that from the approved file.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

from lockstep.errors import UsageError

__all__ = ["Batch", "Gates", "Landing", "Nightly", "Pipeline", "Stream", "Topics"]


@dataclass(frozen=True)
class Topics:
    """Kafka topics. `scored` has as many partitions as `events`."""

    events: str
    scored: str
    dead_letters: str
    control: str
    partitions: int = 4


@dataclass(frozen=True)
class Gates:
    """What a day must look like to be scored and published."""

    min_rows: int = 1
    max_rows: int = 100_000_000
    max_null_fraction: float = 0.5
    """Of any nullable field that `max_null_fractions` does not name."""
    max_null_fractions: dict[str, float] = field(default_factory=dict)
    """Field -> what is normal for it."""
    min_score: float = 0.0
    """Of every row; 0 to 1 is right for a probability."""
    max_score: float = 1.0
    min_mean_score: float = 0.0
    max_mean_score: float = 1.0


@dataclass(frozen=True)
class Batch:
    """The nightly run. `start` is the first day that can be scored, `end` the last one."""

    start: date
    end: date | None = None
    schedule: str = "@daily"
    catchup: bool = False
    gates: Gates = Gates()


@dataclass(frozen=True)
class Stream:
    """The worker. Bigger batches score faster; a shorter wait answers sooner."""

    max_batch: int = 2048
    max_wait_ms: int = 5
    max_value_bytes: int = 65_536
    approval_poll_s: float = 1.0
    max_lateness_h: float = 6.0
    """An event that became readable so long after it happened is too late to be scored live.
    Windows' state is kept so much longer than the longest window."""
    state_wait_ms: int = 5000
    """How long a micro-batch waits for state events that are in Kafka already. Then it is
    scored without the rest of them, and its rows are marked incomplete."""
    timestamps: str = "LogAppendTime"
    """What Kafka's record timestamps are: LogAppendTime, or CreateTime where they are replayed."""
    clock_skew_s: float = 5.0
    """How much later than its record an event may claim to have happened, for worker and landing.
    Where a model's sources promise less, a worker goes by that."""

    @property
    def max_lateness_us(self) -> int:
        return round(self.max_lateness_h * 3_600_000_000)

    @property
    def clock_skew_us(self) -> int:
        return round(self.clock_skew_s * 1_000_000)


@dataclass(frozen=True)
class Nightly:
    """A nightly job beside the scoring: landing, or the audit. An empty schedule: by hand."""

    schedule: str = ""


@dataclass(frozen=True)
class Landing(Nightly):
    """What is new in Kafka, into the lake."""

    max_age_d: float = 366.0
    """An event that became readable so many days after it happened does not land: each day of
    events is a folder of the lake, and a broken clock would make one for every day since 1970."""

    @property
    def max_age_us(self) -> int:
        return round(self.max_age_d * 86_400_000_000)


@dataclass(frozen=True)
class Pipeline:
    """One use case's deployment."""

    use_case: str
    lake_table: str
    topics: Topics
    batch: Batch
    stream: Stream = Stream()
    state: dict[str, str] = field(default_factory=dict)
    """Lake table of state events -> their topic. The scored events' own is `topics.events`."""
    landing: Landing = Landing()
    audit: Nightly = Nightly()

    def topic_of(self, source: str) -> str:
        """The topic of a lake table's events. Raises UsageError for one that has none."""
        topics = {**self.state, self.lake_table: self.topics.events}
        if source not in topics:
            raise UsageError(
                f"no topic is known for the events of {source!r} (known: {', '.join(topics)})",
                next=f"add {source} to [state] in models/{self.use_case}/pipeline.toml",
            )
        return topics[source]

    def on(self, events: str) -> Pipeline:
        """The same with another events topic; the topics of other state events lie beside it."""
        return replace(
            self,
            topics=replace(self.topics, events=events),
            state={source: f"{events}.{source}" for source in self.state},
        )

    @classmethod
    def load(cls, use_case: str, models: Path = Path("models")) -> Pipeline:
        """Read models/USE_CASE/pipeline.toml. Raises UsageError naming the key and its value."""
        path = models / use_case / "pipeline.toml"
        if not path.is_file():
            known = ", ".join(cls.use_cases(models)) or "none"
            raise UsageError(
                f"there is no use case {use_case!r} (known: {known}; looked for {path})",
                next="name one of the known use cases, from the repository's root",
            )
        try:
            document = tomllib.loads(path.read_text())
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{path} is not TOML: {error}", next=f"correct {path}") from None
        batch = _table(path, document, "batch")
        batch["gates"] = _build(Gates, path, "batch.gates", _table(path, batch, "gates"))
        pipeline: Pipeline = _build(
            cls,
            path,
            "",
            {
                **document,
                "topics": _build(Topics, path, "topics", _table(path, document, "topics")),
                "batch": _build(Batch, path, "batch", batch),
                "stream": _build(Stream, path, "stream", _table(path, document, "stream")),
                "state": _topics(path, _table(path, document, "state")),
                "landing": _build(Landing, path, "landing", _table(path, document, "landing")),
                "audit": _build(Nightly, path, "audit", _table(path, document, "audit")),
            },
        )
        return pipeline

    @staticmethod
    def use_cases(models: Path = Path("models")) -> list[str]:
        """The use cases that have a pipeline.toml, sorted."""
        return sorted(path.parent.name for path in models.glob("*/pipeline.toml"))


_TOML_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "date": (date,),
    "date | None": (date,),
    "dict[str, float]": (dict,),
}


def _table(path: Path, document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name} is {table!r}, not a table", next=f"correct {path}")
    return table


def _topics(path: Path, table: dict[str, Any]) -> dict[str, str]:
    for source, topic in table.items():
        if not isinstance(topic, str) or not topic:
            raise UsageError(
                f"{path}: state.{source} is {topic!r}, not a topic", next=f"correct {path}"
            )
    return table


def _build(kind: Any, path: Path, where: str, values: dict[str, Any]) -> Any:
    """A dataclass from TOML, with unknown, missing and mistyped keys named."""
    known = {member.name: member for member in fields(kind)}
    prefix = f"{where}." if where else ""
    for name, value in values.items():
        if name not in known:
            raise UsageError(
                f"{path}: unknown key {prefix}{name} (known: {', '.join(known)})",
                next=f"correct {path}",
            )
        expected = _TOML_TYPES.get(str(known[name].type))
        if expected and (
            not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)
        ):
            raise UsageError(
                f"{path}: {prefix}{name} is {value!r}, not a {known[name].type}",
                next=f"correct {path}",
            )
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(
            f"{path}: {where or 'top level'}: {error}", next=f"correct {path}"
        ) from None
