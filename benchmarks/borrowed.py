"""Topics of a benchmark's own, and nothing left of it at the end, however it ends.

Its workers serve the use case's approved model, so their rows lie in that use case's schema while
it runs. They are known by their topics, and the owner removes them.
"""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lockstep.kafka.clients import topic_admin
from lockstep.kafka.topics import create_topics, topics_of
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect

__all__ = ["Borrowed", "borrowed"]

_ROWS_OF = ("predictions_stream", "stream_batches", "stream_offsets")


@dataclass(frozen=True)
class Borrowed:
    """A deployment of a use case's model over topics whose names all begin with `name`."""

    name: str
    pipeline: Pipeline
    folder: Path
    """Where its workers run: has models/USE_CASE/pipeline.toml with those topics."""
    environment: dict[str, str] = field(repr=False)
    """What its workers get to see."""

    def fresh(self) -> str:
        """The name of another topic for its events."""
        return f"{self.name}.{uuid.uuid4().hex[:8]}"


@contextmanager
def borrowed(settings: Settings, use_case: str) -> Iterator[Borrowed]:
    """Make a deployment, and take it away at the end. SIGTERM ends the block like Ctrl-C.

    Raises UsageError before anything is made where nobody has said who the owner is.
    """
    settings.url("owner")
    name = f"bench-{uuid.uuid4().hex[:8]}"
    here = Path.cwd()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as made:
            folder = Path(made)
            declared = Path("models", use_case, "pipeline.toml").read_text(encoding="utf-8")
            file = folder / "models" / use_case / "pipeline.toml"
            file.parent.mkdir(parents=True)
            file.write_text(declared.replace(f'"{use_case}.', f'"{name}.'), encoding="utf-8")
            if (here / ".env").is_file():
                (folder / ".env").symlink_to(here / ".env")
            pipeline = Pipeline.load(use_case, folder / "models")
            topics = topics_of(pipeline)
            # Before one is made: what has another name would stay.
            assert all(topic.name.startswith(f"{name}.") for topic in topics), topics
            environment = {
                **os.environ,
                "PYTHONPATH": str(here),
                "LOCKSTEP_HOME": str(settings.home),
                "LOCKSTEP_LAKE": settings.lake,
            }
            try:
                create_topics(settings.kafka, topics)
                yield Borrowed(name, pipeline, folder, environment)
            finally:
                _give_back(settings, use_case, f"{name}.")
    finally:
        signal.signal(signal.SIGTERM, before)


def _give_back(settings: Settings, use_case: str, prefix: str) -> None:
    """Remove what the streams whose topics begin so have written, and the topics."""
    try:
        with closing(connect(settings, "owner", use_case)) as connection, connection.transaction():
            found = connection.execute(
                "delete from streams where starts_with(topic, %s) returning stream_id", (prefix,)
            ).fetchall()
            streams = [stream for (stream,) in found]
            for table in _ROWS_OF:
                connection.execute(f"delete from {table} where stream_id = any(%s)", (streams,))
    finally:
        with topic_admin(settings.kafka) as admin:
            if topics := [topic for topic in admin.list_topics() if topic.startswith(prefix)]:
                admin.delete_topics(topics)
