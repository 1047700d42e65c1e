"""What a worker sends: scored events and dead letters, until Kafka has acknowledged them.

What passes is waited out and said; what Kafka gives back for such a reason is sent again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from lockstep.errors import Terminal, Unreachable
from lockstep.pipeline import Topics
from lockstep.warehouse.micro_batch import Answer, MicroBatch
from streaming import codec
from streaming.dead_letters import LEAST_ROOM, DeadLetter, letter_of
from streaming.model_refresh import Serving
from streaming.patience import patiently, waits_for
from streaming.room import Room
from streaming.status import Status

__all__ = ["Sender"]

_FLUSH_S = 1.0
_LOOK_S = 5.0
_ROOM_S = 1.0
"""For so long a full queue is nothing that anybody must hear of."""
_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)


class Sender:
    """One producer's records. Raises Terminal where Kafka refuses one for good, Unreachable when
    told to give up waiting.
    """

    def __init__(
        self,
        producer: Producer,
        topics: Topics,
        room: Room,
        status: Status,
        give_up: threading.Event,
    ) -> None:
        self._producer, self._topics, self._room = producer, topics, room
        self._status, self._give_up = status, give_up
        self._again: list[tuple[str, bytes | None, dict[str, Any]]] = []
        """Records that came back for a reason that passes."""
        self._lock = threading.RLock()
        """Held until they are with the producer again, so that nobody takes them for sent."""
        self._refused: list[str] = []

    def answer(self, answers: Sequence[Answer]) -> None:
        """Produce stored scores. Thread-safe."""
        payloads = codec.encode(
            [a.event_id for a in answers],
            [a.event_time for a in answers],
            [a.score for a in answers],
            [a.margin for a in answers],
            [a.model_version for a in answers],
            [a.model_digest for a in answers],
            [a.incomplete for a in answers],
        )
        self._produce((a.partition for a in answers), (a.event_id for a in answers), payloads)

    def answer_new(self, batch: MicroBatch, serving: Serving) -> None:
        """Produce scores that were just stored, each for the first time."""
        payloads = codec.encode(
            batch.ids,
            batch.event_time.tolist(),
            batch.score.tolist(),
            batch.margin.tolist(),
            repeat(serving.version),
            repeat(serving.digest),
            repeat(False) if batch.incomplete is None else batch.incomplete.tolist(),
        )
        self._produce(batch.partitions.tolist(), batch.ids, payloads)

    def bury(self, dead: Sequence[DeadLetter]) -> None:
        """Produce dead letters, and wait until Kafka has them."""
        too_large: list[DeadLetter] = []
        for letter in dead:
            self._send_letter(letter, self._room.dead_letters, too_large)
        if dead:
            self.flush()
        for letter in too_large:
            self._send_alone(letter)

    def flush(self) -> None:
        """Wait until Kafka has acknowledged everything that was produced."""
        patiently(self._flushed, "kafka", self._status, self._give_up)

    def nothing_open(self) -> bool:
        """Whether Kafka has acknowledged everything so far."""
        # Asking for a report on each record would cost as much as producing it.
        self._producer.poll(0)
        # In this order: a refusal is reported before its record stops counting.
        open_now = len(self._producer)
        self._require_none_refused()
        self._send_again()
        return not open_now and not len(self._producer)

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        """The producer's report of a record that Kafka did not take."""
        place = {"key": message.key(), "partition": message.partition()}
        self._report(error, str(message.topic()), message.value(), place)

    def _report(
        self, error: KafkaError | None, topic: str, value: bytes | None, more: dict[str, Any]
    ) -> None:
        if error is None:
            return
        if waits_for(KafkaException(error)):
            with self._lock:
                self._again.append((topic, value, more))
        else:
            self._refused.append(f"{topic}[{more.get('partition', '')}]: {error.str()}")

    def _flushed(self) -> None:
        waiting = self._producer.flush(_FLUSH_S)
        self._require_none_refused()
        if returned := self._send_again():
            raise Unreachable(f"Kafka gave {returned} records back, which are sent again")
        if waiting:
            raise Unreachable(f"Kafka has not acknowledged {waiting} records")

    def _send_again(self) -> int:
        with self._lock:
            again, self._again = self._again, []
            for topic, value, more in again:
                self._send(topic, value, **more)
            return len(again)

    def _require_none_refused(self) -> None:
        if self._refused:
            raise Terminal(
                f"Kafka refused {len(self._refused)} records, first {self._refused[0]}",
                left="rows already written; their scored events are produced again at restart",
                next="correct the topic's limits or rights, then start the worker again",
            )

    def _send_alone(self, letter: DeadLetter) -> None:
        """What was refused may have been the batch that it was sent in, or the topic takes less
        than it did: then with what is in any letter.
        """
        too_large: list[DeadLetter] = []
        self._send_letter(letter, self._room.dead_letters, too_large)
        self.flush()
        if too_large:
            self._send_letter(letter, LEAST_ROOM)
            self.flush()

    def _send_letter(
        self, dead: DeadLetter, room: int, too_large: list[DeadLetter] | None = None
    ) -> None:
        letter = letter_of(dead, room)
        more: dict[str, Any] = {"key": letter.key, "headers": letter.headers}

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None and too_large is not None and error.code() in _TOO_LARGE:
                too_large.append(dead)
            else:
                self._report(error, self._topics.dead_letters, letter.value, more)

        more["on_delivery"] = delivered
        self._send(self._topics.dead_letters, letter.value, **more)

    def _produce(
        self, partitions: Iterable[int], keys: Iterable[str], payloads: Iterable[bytes]
    ) -> None:
        topic, send = self._topics.scored, self._producer.produce
        for partition, key, payload in zip(partitions, keys, payloads, strict=True):
            try:
                send(topic, payload, key, partition)
            except (BufferError, KafkaException):
                self._send(topic, payload, key=key, partition=partition)

    def _send(self, topic: str, value: bytes | None, **more: Any) -> None:
        """Produce, waiting for room in the producer's own queue, and for a topic's partition."""
        patiently(lambda: self._sent(topic, value, more), "kafka", self._status, self._give_up)

    def _sent(self, topic: str, value: bytes | None, more: dict[str, Any]) -> None:
        deadline = time.monotonic() + _ROOM_S
        while True:
            try:
                return self._producer.produce(topic, value, **more)
            except BufferError:
                # A backlog fills the queue for a moment. A broker that is away leaves it full.
                if self._give_up.is_set() or time.monotonic() > deadline:
                    raise Unreachable(
                        f"Kafka's producer has no room for records for {topic}: too many are not"
                        " acknowledged"
                    ) from None
                self._producer.poll(0.1)
            except KafkaException as error:
                if not waits_for(error):
                    raise
                # A producer knows the partitions that it was told of: ask now.
                self._producer.list_topics(topic, timeout=_LOOK_S)
                raise Unreachable(
                    f"Kafka does not take records for {topic}[{more.get('partition', '')}]:"
                    f" {error.args[0].str()}"
                ) from None
