"""pipeline.toml: how one use case is deployed. Data beside the worker, read with tomllib.

It names topics, lake table, schedule and gates. It names nothing of the model: what scores
reads that from the approved file. Each field's annotation says what may stand there.

Each file is read alone: a wrong one is refused with its file and key and takes no other along. A
topic belongs to one use case. Where two files name one, it is the use case's whose name the
topic's begins with (`flight_delay.events`), and the other one is refused; where neither is, or
both are, nothing says whose it is, and both are refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Annotated

from lockstep.cron import cron_fault
from lockstep.errors import UsageError, printable
from lockstep.names import lake_name_fault, topic_fault, use_case_fault
from lockstep.typed_toml import Rule, day, each, flag, number, one_of, read_toml, text, whole

__all__ = ["Batch", "Gates", "Landing", "Nightly", "Pipeline", "Stream", "Topics"]

_FLOAT32 = 3.4e38
_FIRST, _LAST = date(1900, 1, 1), date(2999, 12, 31)


def _topic(example: str) -> Rule:
    return text(topic_fault, write=f'"use_case.{example}"')


@dataclass(frozen=True)
class Topics:
    """Kafka topics. `scored` has as many partitions as `events`."""

    events: Annotated[str, _topic("events")]
    scored: Annotated[str, _topic("scored")]
    dead_letters: Annotated[str, _topic("dead_letters")]
    control: Annotated[str, _topic("control")]
    partitions: Annotated[int, whole(1, 10_000, write="4")] = 4


@dataclass(frozen=True)
class Gates:
    """What a day must look like to be scored and published."""

    min_rows: Annotated[int, whole(0, 10**12, write="1")] = 1
    max_rows: Annotated[int, whole(1, 10**12, write="100_000_000")] = 100_000_000
    max_null_fraction: Annotated[float, number(0, 1, write="0.5")] = 0.5
    """Of any nullable field that `max_null_fractions` does not name."""
    max_null_fractions: Annotated[
        dict[str, float], each(lambda name: None, number(0, 1, write="0.5"))
    ] = field(default_factory=dict)
    """Field -> what is normal for it."""
    min_score: Annotated[float, number(-_FLOAT32, _FLOAT32, write="0.0")] = 0.0
    """Of every row; 0 to 1 is right for a probability."""
    max_score: Annotated[float, number(-_FLOAT32, _FLOAT32, write="1.0")] = 1.0
    min_mean_score: Annotated[float, number(-_FLOAT32, _FLOAT32, write="0.0")] = 0.0
    max_mean_score: Annotated[float, number(-_FLOAT32, _FLOAT32, write="1.0")] = 1.0

    def contradiction(self) -> tuple[str, str] | None:
        """Bounds that no day can keep."""
        for low, high in (
            ("min_rows", "max_rows"),
            ("min_score", "max_score"),
            ("min_mean_score", "max_mean_score"),
            ("min_mean_score", "max_score"),
            ("min_score", "max_mean_score"),
        ):
            least, most = getattr(self, low), getattr(self, high)
            if least > most:
                return low, f"is {least:,}, above {high} = {most:,}: no day could pass"
        return None


@dataclass(frozen=True)
class Batch:
    """The nightly run. `start` is the first day that can be scored, `end` the last one."""

    start: Annotated[date, day(_FIRST, _LAST, write="2013-01-01")]
    end: Annotated[date | None, day(_FIRST, _LAST, write="2013-12-31")] = None
    schedule: Annotated[str, text(cron_fault, write='"@daily"')] = "@daily"
    catchup: Annotated[bool, flag(write="false")] = False
    gates: Gates = Gates()

    def contradiction(self) -> tuple[str, str] | None:
        """A range of days without a day."""
        if self.end is not None and self.end < self.start:
            return "end", f"is {self.end}, before start = {self.start}: there is no day to score"
        return None


@dataclass(frozen=True)
class Stream:
    """The worker. Bigger batches score faster; a shorter wait answers sooner."""

    max_batch: Annotated[int, whole(1, 20_000, write="2048")] = 2048
    max_wait_ms: Annotated[int, whole(0, 60_000, write="5")] = 5
    max_value_bytes: Annotated[int, whole(1, 2**30, write="65_536")] = 65_536
    approval_poll_s: Annotated[float, number(0.01, 3600, write="1.0")] = 1.0
    max_lateness_h: Annotated[float, number(0, 87_600, write="6.0")] = 6.0
    """An event that became readable so long after it happened is too late to be scored live.
    Windows' state is kept so much longer than the longest window."""
    state_wait_ms: Annotated[int, whole(0, 600_000, write="5000")] = 5000
    """How long a micro-batch waits for state events that are in Kafka already. Then it is
    scored without the rest of them, and its rows are marked incomplete."""
    timestamps: Annotated[str, one_of("LogAppendTime", "CreateTime")] = "LogAppendTime"
    """What Kafka's record timestamps are: LogAppendTime, or CreateTime where they are replayed."""
    clock_skew_s: Annotated[float, number(0, 86_400, write="5.0")] = 5.0
    """How much later than its record an event may claim to have happened, for worker and landing.
    Where a model's sources promise less, a worker goes by that."""

    @property
    def max_lateness_us(self) -> int:
        return round(self.max_lateness_h * 3_600_000_000)

    @property
    def clock_skew_us(self) -> int:
        return round(self.clock_skew_s * 1_000_000)


def _schedule_fault(given: str) -> str | None:
    return cron_fault(given) if given else None


@dataclass(frozen=True)
class Nightly:
    """A nightly job beside the scoring: landing, or the audit. An empty schedule: by hand."""

    schedule: Annotated[str, text(_schedule_fault, write='"30 6 * * *"')] = ""


@dataclass(frozen=True)
class Landing(Nightly):
    """What is new in Kafka, into the lake."""

    max_age_d: Annotated[float, number(0, 36_500, write="366.0")] = 366.0
    """An event that became readable so many days after it happened does not land: each day of
    events is a folder of the lake, and a broken clock would make one for every day since 1970."""

    @property
    def max_age_us(self) -> int:
        return round(self.max_age_d * 86_400_000_000)


@dataclass(frozen=True)
class Pipeline:
    """One use case's deployment."""

    use_case: Annotated[str, text(use_case_fault, write='"NAME" (the name of its folder)')]
    lake_table: Annotated[str, text(lake_name_fault, write='"events"')]
    topics: Topics
    batch: Batch
    stream: Stream = Stream()
    state: Annotated[
        dict[str, str], each(lake_name_fault, text(topic_fault, write='"use_case.state"'))
    ] = field(default_factory=dict)
    """Lake table of state events -> their topic. The scored events' own is `topics.events`."""
    landing: Landing = Landing()
    audit: Nightly = Nightly()

    def contradiction(self) -> tuple[str, str] | None:
        """A topic that is named twice; a stream that scores what landing refuses."""
        if self.stream.max_lateness_us > self.landing.max_age_us:
            return "landing.max_age_d", (
                f"is {self.landing.max_age_d:g}, less than stream.max_lateness_h ="
                f" {self.stream.max_lateness_h:g} hours: events would be scored that never land"
            )
        if self.lake_table in self.state:
            return f"state.{self.lake_table}", (
                "is the lake_table itself, whose topic is topics.events: leave it out of [state]"
            )
        keys: dict[str, str] = {}
        for key, topic in self.named_topics():
            other = keys.setdefault(_as_kafka(topic), key)
            if other != key:
                return key, f"is {topic!r}, which is {other} already: each has a topic of its own"
        return None

    def named_topics(self) -> Iterator[tuple[str, str]]:
        """Every key that names a topic, and the topic."""
        for role in ("events", "scored", "dead_letters", "control"):
            yield f"topics.{role}", getattr(self.topics, role)
        for source, topic in self.state.items():
            yield f"state.{source}", topic

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
        """The same with another events topic; the topics of other state events lie beside it.

        Raises UsageError for what cannot name a topic.
        """
        state = {source: f"{events}.{source}" for source in self.state}
        for topic in (events, *state.values()):
            if fault := topic_fault(topic):
                raise UsageError(f"{topic!r} {fault}", next=f"--topic {self.use_case}.again")
        return replace(self, topics=replace(self.topics, events=events), state=state)

    @classmethod
    def load(cls, use_case: str, models: Path = Path("models")) -> Pipeline:
        """Read models/USE_CASE/pipeline.toml. Raises UsageError naming the file, the key, its
        value and what to write; also where another use case has one of its topics."""
        known = cls.use_cases(models)
        if use_case not in known:
            raise UsageError(
                f"there is no use case {use_case[:80]!r}"
                f" (known: {printable(', '.join(known)) or 'none'};"
                f" looked for models/*/pipeline.toml in {models.absolute().parent})",
                next="name one of the known use cases, from the repository's root",
            )
        good, refused = cls.load_all(models)
        if use_case in refused:
            raise refused[use_case]
        return good[use_case]

    @classmethod
    def load_all(
        cls, models: Path = Path("models")
    ) -> tuple[dict[str, Pipeline], dict[str, UsageError]]:
        """Each use case's pipeline by name; and those that are refused, each with its reason."""
        read: dict[str, Pipeline] = {}
        refused: dict[str, UsageError] = {}
        for name in cls.use_cases(models):
            try:
                read[name] = _read(models, name)
            except UsageError as error:
                refused[name] = error  # It has no topics.
        named: dict[str, list[tuple[Pipeline, str, str]]] = defaultdict(list)
        for pipeline in read.values():
            for key, topic in pipeline.named_topics():
                named[_as_kafka(topic)].append((pipeline, key, topic))
        good = {}
        for name, pipeline in read.items():
            if shared := _shared(pipeline, named, models):
                refused[name] = shared
            else:
                good[name] = pipeline
        return good, refused

    @staticmethod
    def use_cases(models: Path = Path("models")) -> list[str]:
        """The folders that have a pipeline.toml, sorted, whether or not it is a good one."""
        return sorted(path.parent.name for path in models.glob("*/pipeline.toml"))


def _file(models: Path, use_case: str) -> Path:
    return models / use_case / "pipeline.toml"


def _read(models: Path, use_case: str) -> Pipeline:
    """One file, judged by itself."""
    path = _file(models, use_case)
    if said := use_case_fault(use_case):
        raise UsageError(
            f"{printable(str(path))}: the folder {use_case!r} {said}",
            next="rename the folder, and write its name as use_case",
        )
    pipeline: Pipeline = read_toml(Pipeline, path)
    if pipeline.use_case != use_case:
        raise UsageError(
            f"{path}: use_case is {pipeline.use_case!r}, but the folder is {use_case!r}",
            next=f'write use_case = "{use_case}", and give it topics of its own',
        )
    return pipeline


def _shared(
    pipeline: Pipeline, named: Mapping[str, Sequence[tuple[Pipeline, str, str]]], models: Path
) -> UsageError | None:
    """Why it is refused for a topic that another use case has too. `named`: who names a topic."""
    for key, topic in pipeline.named_topics():
        for other, their_key, their_topic in named[_as_kafka(topic)]:
            if other is pipeline or (_owns(pipeline, topic) and not _owns(other, their_topic)):
                continue  # Itself; or it is the other one that is refused.
            same = "too" if topic == their_topic else f"as {their_topic!r}, one name to Kafka"
            return UsageError(
                f"{_file(models, pipeline.use_case)}: {key} is {topic!r}, which"
                f" {_file(models, other.use_case)} has as {their_key}, {same}; a topic belongs to"
                " one use case: the one whose name it begins with",
                left="neither serves from the topic of the other",
                next=f'write {key} = "{pipeline.use_case}.{key.rpartition(".")[2]}" in'
                f" {_file(models, pipeline.use_case)}",
            )
    return None


def _owns(pipeline: Pipeline, topic: str) -> bool:
    return topic.startswith(f"{pipeline.use_case}.")


def _as_kafka(topic: str) -> str:
    """What must differ: a broker refuses topics that differ in a dot and an underscore only."""
    return topic.replace(".", "_")
