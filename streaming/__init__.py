"""The streaming worker: live events in, scored events out, each row written once.

What a producer sends, into the events topic and into the topics of state events:

- **value**: one event as a JSON object in UTF-8, as its contract has it, of at most
  `stream.max_value_bytes` bytes. Timestamps are integers, microseconds since 1970-01-01 UTC.
  Fields that the contract does not know are ignored.
- **key**: any bytes. It is not read, and decides the partition: send an event and its copies with
  one key, such as its entity or its id, so that they stay in order.
- **timestamp**: when the event became readable. It is the broker's (`LogAppendTime`) or, where
  pipeline.toml says `CreateTime`, the producer's. Clocks and lateness are judged by it.
- **headers**: any. They are not read, and go along to the dead letters.

>>> from pathlib import Path
>>> from lockstep.contracts import Contract, EventDecoder
>>> reading = Contract.load(Path("schemas/blood_glucose/reading.v1.json"))
>>> event = (
...     b'{"event_id": "r-1", "read_at": 1286240580000000,'
...     b' "wearer": "donor-1", "hour": 1, "glucose": 500}'
... )
>>> EventDecoder(reading, max_bytes=65_536).decode([event]).rejected
{0: 'glucose is 500.0, outside [40, 400]'}

What comes back: each record of the events topic gets a scored event or a dead letter, never none.
An event is known by its id and its time together. A copy is answered with what is stored for the
event that came first, and not scored again. After a crash an answer may come twice; it says the
same then. A state event that is refused is counted in `/metrics`, and gets no answer.
"""
