"""Whatever lies between good events in a topic: those are scored, it is named, nothing stops."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from typing import Any

from confluent_kafka import Producer

from lockstep.kafka.unreadable import unreadable
from streaming.answers import Sent, await_answers, ends
from streaming.dlq import newest
from streaming.replay import progress_bar
from tests.contracts.test_decoding import BAD
from tests.streaming.deployment import Deployment
from tests.streaming.nasty import MIB, Nasty, about, limit, noise, produce
from tests.until import until

UNREADABLE = "so large that the client does not decompress it"


def typed(deployment: Deployment, *words: str) -> dict[str, Any]:
    """What a command prints as JSON, typed where the deployment is."""
    done = subprocess.run(
        [sys.executable, "-m", "lockstep.cli", *words],
        cwd=deployment.folder,
        env=deployment.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_every_good_event_is_scored_and_every_other_one_is_named(
    windowed_deployment: Deployment, events: Any
) -> None:
    """In the topic of the events, and in that of the state that their windows see."""
    deployment = windowed_deployment
    limit(deployment, events=8 * MIB, dead_letters=MIB)
    good = events(200)
    document = json.loads(good[0][1])
    stamp = document["departed_at"] // 1000

    def changed(**fields: Any) -> bytes:
        return json.dumps({**document, "event_id": "changed", **fields}).encode()

    nasty = {
        **{f"contract: {name}": Nasty(payload) for name, (payload, _) in BAD.items()},
        "large, and small on the wire": Nasty(b" " * 6_000_000, codec="gzip"),
        "the same through zstd": Nasty(b" " * 6_000_000, codec="zstd"),
        "larger than a dead letter may be": Nasty(noise(4_400_000)),
        "larger than this topic of dead letters takes": Nasty(noise(1_500_000)),
        "nearly so large": Nasty(noise(MIB - 600)),
        UNREADABLE: Nasty(b" " * 120_000_000, codec="zstd"),
        "a large key": Nasty(b"{}", key=noise(2_000_000)),
        "large headers": Nasty(b"{}", headers=[("trace", noise(3_000_000))]),
        "many headers": Nasty(b"{}", headers=[("x" * 50, b"y")] * 30_000),
        "headers named like ours": Nasty(
            b"{}", headers=[("lockstep.reason", None), ("lockstep.offset", b"\xff-1"), ("", b"")]
        ),
        "a header's name that is not UTF-8": Nasty(b"{}", headers=[("\u00fc" * 9, b"\xff\xfe")]),
        "a key that is not text": Nasty(b"{}", key=b"\xff\x00\x1b[2J"),
        "an empty key": Nasty(b"{}", key=b""),
        "a reason with a terminal's words": Nasty(changed(origin="\x1b[2J[bold]\u202e\r\n")),
        "no timestamp": Nasty(b"{}", timestamp=-1),
        "the beginning of time": Nasty(b"{}", timestamp=1),
        "the same name twice": Nasty(changed()[:-1] + b', "origin": "BOS"}'),
        "a byte order mark": Nasty(b"\xef\xbb\xbf" + changed()),
        "a number of many digits": Nasty(changed(distance=10).replace(b"10,", b"1" * 4_000 + b",")),
        "UTF-16": Nasty(changed().decode().encode("utf-16")),
    }
    first = nasty.pop(UNREADABLE)  # a worker begins with it
    scored = [
        Nasty(payload, key.encode(), timestamp=json.loads(payload)["departed_at"] // 1000)
        for key, payload in good
    ]
    sent = [first, *scored[:100], *nasty.values(), *scored[100:]]
    nasty = {UNREADABLE: first, **nasty}
    places = produce(deployment.settings.kafka, deployment.events, sent, stamp)
    where = dict(zip(nasty, [places[0], *places[101:]], strict=False))

    limit(deployment, arrivals=8 * MIB)
    produce(deployment.settings.kafka, deployment.arrivals, nasty.values(), stamp)

    worker = deployment.worker().ready()
    until(lambda: deployment.settled() == len(sent), "every record is settled")
    # Folded more than once, they are counted more than once.
    until(
        lambda: worker.metrics().get("lockstep_state_refused_total", 0) >= len(nasty),
        "all of the state is refused",
    )
    assert worker.process.poll() is None
    assert worker.drain() == 0

    expected = Counter(key for key, _ in good)
    assert Counter(row[0] for row in deployment.rows()) == expected
    assert Counter(answer["event_id"] for answer in deployment.answers()) == expected
    letters = {}
    for letter in deployment.letters():
        said = about(letter)
        assert said["topic"] == deployment.events
        letters[int(said["partition"]), int(said["offset"])] = said, letter
    assert set(letters) == set(where.values())
    for name, record in nasty.items():
        said, letter = letters[where[name]]
        assert said["reason"].strip(), name
        left_out = said.get("left_out", "").split(",")
        if name == UNREADABLE:
            assert "cannot be read" in said["reason"]
            assert "value" in left_out
            continue
        whole = (record.value or None, record.key or None)
        kept = (letter.value() or None, letter.key() or None)
        left = tuple(part in left_out for part in ("value", "key"))
        assert kept == tuple(None if x else y for x, y in zip(left, whole, strict=True)), name
        if record.value:
            assert said["bytes"] == str(len(record.value))
            assert said["sha256"] == hashlib.sha256(record.value).hexdigest()
    for name in ("large, and small on the wire", "larger than a dead letter may be"):
        assert "value" in letters[where[name]][0]["left_out"]
    assert letters[where["a large key"]][0]["left_out"] == "key"
    assert letters[where["large headers"]][0]["left_out"] == "headers"
    assert "left_out" not in letters[where["a key that is not text"]][0]

    listed = newest(deployment.settings, deployment.pipeline, 1_000)
    assert listed["total"] == len(nasty)
    assert {(letter["partition"], letter["offset"]) for letter in listed["letters"]} == set(letters)
    assert all(letter["reason"].isprintable() for letter in listed["letters"])


def test_the_end_of_a_transaction_is_no_record_that_cannot_be_read(deployment: Deployment) -> None:
    kafka, topic = deployment.settings.kafka, deployment.events
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic, "log_level": 0})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic, b"{}", partition=0)
    producer.commit_transaction()
    [place] = produce(kafka, topic, [Nasty(b" " * 120_000_000, codec="zstd")])
    assert place == (0, 2)
    assert unreadable(kafka, topic, 0, 1) == range(2, 3)
    assert unreadable(kafka, topic, 0, 2) == range(2, 3)
    assert unreadable(kafka, topic, 0, 0) == range(0, 0)


def test_a_topic_of_dead_letters_that_takes_less_than_before(
    deployment: Deployment, events: Any
) -> None:
    """It was larger when the worker looked: the letter goes without the event."""
    worker = deployment.worker().ready()
    limit(deployment, dead_letters=20_000)
    payload = noise(50_000)
    stamp = json.loads(events(1)[0][1])["departed_at"] // 1000
    produce(deployment.settings.kafka, deployment.events, [Nasty(payload), Nasty(b"[]")], stamp)
    until(lambda: deployment.settled() == 2, "both are settled")
    assert worker.drain() == 0
    letters = [about(letter) for letter in deployment.letters()]
    assert {letter["offset"]: letter.get("left_out") for letter in letters} == {
        "0": "value",
        "1": None,
    }


def test_dead_letters_are_listed_whatever_lies_among_them(deployment: Deployment) -> None:
    ours = [("lockstep.topic", b"t"), ("lockstep.partition", b"3"), ("lockstep.offset", b"9")]
    nasty = [
        *(
            Nasty(b"x", headers=[*ours, ("lockstep.reason", b"why")], codec=codec)
            for codec in ("gzip", "lz4", "zstd", "snappy")
        ),
        Nasty(None),
        Nasty(b"x", headers=[("lockstep.reason", None), ("lockstep.offset", None)]),
        Nasty(b"x", headers=[("lockstep.offset", b"nine"), ("lockstep.partition", b"\xff")]),
        Nasty(b"x", headers=[("lockstep.offset", "²".encode()), ("lockstep.bytes", b"9" * 5_000)]),
        Nasty(b"x", headers=[*ours, ("lockstep.reason", b"\x1b[2J[bold]\r\n\xff")]),
        Nasty(b" " * 120_000_000, codec="zstd"),
        Nasty(b"x", headers=[*ours, ("lockstep.reason", b"the last")]),
    ]
    produce(deployment.settings.kafka, deployment.dead_letters, nasty)
    listed = typed(deployment, "dlq", "list", deployment.use_case, "--limit", "100", "--json")
    assert listed["total"] == len(nasty)
    assert [letter["reason"] for letter in listed["letters"]][:4] == ["why"] * 4
    assert listed["letters"][-1]["reason"] == "the last"
    assert all((letter["reason"] or "").isprintable() for letter in listed["letters"])


def test_answers_are_heard_whatever_lies_among_them(deployment: Deployment) -> None:
    codecs = ("none", "gzip", "lz4", "zstd", "snappy")
    answers = [Nasty(b'{"event_id": "%s", "score": 1}' % c.encode(), codec=c) for c in codecs]
    nasty = [
        *(Nasty(None), Nasty(b"\xff"), Nasty(b"[" * 100_000), Nasty(b'{"event_id": 7}')),
        Nasty(b'{"event_id": "somebody else\'s"}'),
    ]
    kafka = deployment.settings.kafka
    begin = ends(kafka, deployment.scored)
    produce(deployment.settings.kafka, deployment.scored, [*nasty, *answers])
    sent = Sent(dict.fromkeys(codecs, 0.0), {}, 0.0, begin)
    with progress_bar(False) as bar:
        assert await_answers(kafka, deployment.pipeline, sent, bar).answered == len(codecs)
    assert sum(ends(kafka, deployment.scored).values()) == len(nasty) + len(answers)
