"""The local Kafka: one real broker, which is its own controller (KRaft), on loopback."""

from __future__ import annotations

import base64
import shutil
import uuid
from collections.abc import Mapping
from typing import Any

from kafka.errors import KafkaError

from lockstep.errors import ServiceFailed
from lockstep.files import write_atomically
from lockstep.kafka.clients import topic_admin
from lockstep.kafka.topics import DeclaredTopic, create_topics, topics_of
from lockstep.local.home import Home, Progress
from lockstep.local.kafka.jars import class_path
from lockstep.local.loopback import port_is_free
from lockstep.local.service import Service, base_environment, run, running_pid, start, tail
from lockstep.pipeline import Pipeline
from lockstep.spark.java import Java, find_java

__all__ = ["Kafka"]

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={data}
# A misspelt topic is an error, not a new topic.
auto.create.topics.enable=false
# Replays carry the time at which the event was recorded: by age they would all be deleted.
log.retention.ms=-1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
_LOGGING = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


class Kafka:
    """One broker in <home>/kafka."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.folder = home.root / "kafka"
        self.data = self.folder / "data"
        self.port = home.port("kafka")
        self.controller_port = home.port("kafka-controller")

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.port}"

    def start(self, progress: Progress) -> bool:
        """Download, format and start whatever is not yet. False when it already ran."""
        if running_pid(self.home, "kafka") is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            java = find_java(self.home.root)
            classes = class_path(self.home, java, progress)
            self._configure()
            if not (self.data / "formatted").is_file():
                progress("kafka", "formatting the log folder")
                self._format(java, classes)
        else:
            java, classes = None, ""
        return start(self.home, [self.service(java, classes)], progress)

    def service(self, java: Java | None = None, classes: str = "") -> Service:
        """The broker service. Without `java` it can be watched and stopped, not started."""
        return Service(
            name="kafka",
            command=[
                str(java.executable if java else "java"),
                "-Xms256m",
                "-Xmx512m",
                "-XX:+ExitOnOutOfMemoryError",
                f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
                "-cp",
                classes,
                "kafka.Kafka",
                str(self.folder / "server.properties"),
            ],
            ready=self.missing,
            ports={"kafka": self.port, "kafka-controller": self.controller_port},
            env=base_environment(),
            cwd=self.folder,
        )

    def missing(self) -> str | None:
        """None when the broker answers a metadata request, else its answer."""
        if port_is_free(self.port):
            return f"nothing listens on {self.bootstrap}"
        try:
            with self.admin() as admin:
                return None if admin.describe_cluster()["brokers"] else "no broker in the cluster"
        except (KafkaError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    def admin(self) -> Any:
        """A kafka-python admin client; close it, or use it in a `with`."""
        return topic_admin(self.bootstrap)

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> bool:
        """Create a topic and wait until it can be used. False when it exists.

        Raises UsageError when it exists with another number of partitions: keys would move.
        """
        topic = DeclaredTopic(name, partitions, config or {})
        return bool(create_topics(self.bootstrap, [topic]))

    def create_topics(self, pipeline: Pipeline) -> list[str]:
        """The topics of one use case; returns the names of those that are new."""
        return create_topics(self.bootstrap, topics_of(pipeline))

    def _configure(self) -> None:
        write_atomically(
            self.folder / "server.properties",
            _PROPERTIES.format(
                port=self.port, controller=self.controller_port, data=self.data / "log"
            ),
        )
        write_atomically(self.folder / "log4j2.properties", _LOGGING)

    def _format(self, java: Java, classes: str) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [
            *(str(java.executable), "-cp", classes, "kafka.tools.StorageTool", "format"),
            *(f"--cluster-id={cluster}", "-c", str(self.folder / "server.properties")),
        ]
        if run(self.home, "kafka-format", command, base_environment(), cwd=self.folder) != 0:
            log = self.home.logs / "kafka-format.log"
            raise ServiceFailed(
                f"kafka: the log folder could not be formatted; the end of its log:\n{tail(log)}",
                left=f"no data; the whole log in {log}",
                next="lockstep up, when the reason is gone",
            )
        (self.data / "formatted").touch()
