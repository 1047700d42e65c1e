"""A second broker beside the session's: partitions of which it is the only replica have no leader
while it is away, though the cluster answers. Clients reach it through a proxy.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from confluent_kafka.admin import AdminClient, NewTopic
from kafka.errors import KafkaError

from lockstep.files import write_atomically
from lockstep.kafka import clients
from lockstep.local.home import Home, silent
from lockstep.local.kafka.broker import Kafka
from lockstep.local.kafka.jars import class_path
from lockstep.local.service import Service, base_environment, run, running_pid, start, stop
from lockstep.spark.java import Java, find_java
from tests.streaming.proxy import Proxy
from tests.until import until

__all__ = ["SecondBroker", "second_broker"]

NAME = "kafka-second"
_PROPERTIES = """\
process.roles=broker
node.id=2
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
log.dirs={data}
log.retention.ms=-1
"""


class SecondBroker(Kafka):
    """Node 2 of the session's cluster; `proxy` is what clients see of it."""

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.first = Kafka(home)
        self.folder = home.root / NAME
        self.data = self.folder / "data"
        self.port = home.port(NAME)
        self.proxy = Proxy(("127.0.0.1", self.port))

    def start(self, *_: object) -> bool:
        java = find_java(self.home.root)
        classes = class_path(self.home, java, silent)
        if not self.data.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._configure()
            self._format(java, classes)
        return start(self.home, [self.service(java, classes)], silent)

    def stop(self) -> None:
        stop(self.home, [NAME])

    @property
    def pid(self) -> int:
        pid = running_pid(self.home, NAME)
        assert pid is not None
        return pid

    def service(self, java: Java | None = None, classes: str = "") -> Service:
        return replace(super().service(java, classes), name=NAME, ports={NAME: self.port})

    def missing(self) -> str | None:
        try:
            with self.first.admin() as admin:
                brokers = admin.describe_cluster()["brokers"]
        except (KafkaError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return None if len(brokers) == 2 else f"the cluster has {len(brokers)} broker"

    def _configure(self) -> None:
        properties = _PROPERTIES.format(
            controller=self.controller_port,
            port=self.port,
            advertised=self.proxy.port,
            data=self.data / "log",
        )
        write_atomically(self.folder / "server.properties", properties)
        logging = (self.first.folder / "log4j2.properties").read_text()
        write_atomically(self.folder / "log4j2.properties", logging)

    def _format(self, java: Java, classes: str) -> None:
        known = (self.first.data / "log" / "meta.properties").read_text().splitlines()
        cluster = next(line for line in known if line.startswith("cluster.id="))
        command = [
            *(str(java.executable), "-cp", classes, "kafka.tools.StorageTool", "format"),
            f"--cluster-id={cluster.removeprefix('cluster.id=')}",
            *("-c", str(self.folder / "server.properties")),
        ]
        assert run(self.home, f"{NAME}-format", command, base_environment(), cwd=self.folder) == 0


@contextmanager
def second_broker(home: Home) -> Iterator[SecondBroker]:
    """Runs for as long as the block; its partitions go with it."""
    # Kafka's own topic of groups is made at the first question about one: on the first broker.
    admin = clients.admin(Kafka(home).bootstrap, "tests")
    for future in admin.describe_consumer_groups(["any"]).values():
        future.exception()
    broker = SecondBroker(home)
    try:
        with broker.proxy:
            broker.start()
            until(lambda: _takes_partitions(admin), "the second broker takes partitions")
            yield broker
    finally:
        broker.stop()


def _takes_partitions(admin: AdminClient) -> bool:
    """Known to the cluster, it is fenced until it has caught up."""
    topic = NewTopic(f"t{uuid.uuid4().hex[:8]}", 1, replica_assignment=[[2]])
    [created] = admin.create_topics([topic]).values()
    if created.exception() is not None:
        return False
    [deleted] = admin.delete_topics([topic.topic]).values()
    return deleted.exception() is None
