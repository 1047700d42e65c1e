"""The control: a worker as it is usually written, killed at the same points.

Kafka's group offset is the truth, the rows have no fence, and nothing remembers which answers
were produced. `ORDER` says when it acknowledges: first (before it writes) or last.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import closing

from confluent_kafka import Consumer, Producer

from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from lockstep.warehouse.connect import connect

FAULT, AFTER = os.environ.get("FAULT"), int(os.environ.get("FAULT_AFTER", "0"))
ORDER = os.environ["ORDER"]


def main(use_case: str) -> None:
    settings, topics = Settings.load(), Pipeline.load(use_case).topics
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": f"plain.{topics.events}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
        }
    )
    consumer.subscribe([topics.events])
    producer = Producer({"bootstrap.servers": settings.kafka})
    table = topics.events.replace(".", "_")
    passed = 0
    with closing(connect(settings, "scorer", use_case)) as connection:
        while True:
            messages = [m for m in consumer.consume(200, 0.5) if m.error() is None]
            if not messages:
                continue
            passed += 1
            due = passed > AFTER
            if ORDER == "first":
                consumer.commit(asynchronous=False)
            ids = [json.loads(message.value())["event_id"] for message in messages]
            with connection.transaction():
                connection.execute(f'insert into "{table}" select unnest(%s::text[])', (ids,))
                if due and FAULT == "before-commit":
                    os.kill(os.getpid(), signal.SIGKILL)
            if due and FAULT == "after-commit":
                os.kill(os.getpid(), signal.SIGKILL)
            for number, name in enumerate(ids):
                if due and FAULT == "mid-answers" and number == len(ids) // 2:
                    producer.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                producer.produce(topics.scored, json.dumps({"event_id": name}))
            producer.flush()
            if ORDER == "last":
                consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main(sys.argv[1])
