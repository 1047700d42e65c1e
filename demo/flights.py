"""make demo: one model scores live events through Kafka, and days through Airflow and Spark.

A day happens on Kafka; a worker scores it; the day is landed in the lake and scored by Airflow;
an audit recomputes what the worker saw. It types the commands that a user types, and counts
before it says that nothing differs. Safe to run again: what is published is not scored again,
and live events get fresh topics.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from demo.airflow_api import Airflow
from lockstep.exits import ended
from lockstep.kafka.clients import topic_admin
from lockstep.local.home import Home, free_port
from lockstep.local.loopback import http_missing
from lockstep.local.postgres.server import Postgres
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings
from streaming.replay import ensure_topic

USE_CASE = "flight_delay"
DAYS = [date(2013, 10, 1) + timedelta(days=n) for n in range(4)]
LIVE_DAY = DAYS[-1]
LIVE_RATE = 200
MONTH = (date(2013, 11, 1), date(2013, 11, 30))
AIRFLOW_LIMIT_S = 600
CATCH_UP_LIMIT_S = 300
WORKER_READY_LIMIT_S = 120

BAD_EVENTS = {
    "not JSON": b"<event/>",
    "an empty value": b"",
    "a missing field": b'{"event_id": "bad-1"}',
    "an airport that is none of New York's": json.dumps(
        {
            "event_id": "bad-2",
            "departed_at": 1381000000000000,
            "scheduled_at": 1381000000000000,
            "carrier": "UA",
            "flight": 1,
            "origin": "BOS",
            "dest": "IAH",
            "distance": 1400,
        }
    ).encode(),
}


def main() -> int:
    """Run the demo; exit code 0 only when the same day's two answers are the same."""
    argparse.ArgumentParser(prog="python -m demo.flights", description=__doc__).parse_args()
    begin = time.monotonic()
    pipeline = Pipeline.load(USE_CASE)
    step("The local stack: Postgres, Kafka, MLflow, Airflow")
    lockstep("up")
    settings = Settings.load()

    step("The flights of 2013, as a lake and as events")
    lockstep("data", USE_CASE)

    step("Train, compile, certify, register, approve")
    lockstep("train", USE_CASE)
    trained = facts("train", USE_CASE)  # what was just registered, or before
    reason = "make demo: its certificate passed"
    lockstep("approve", USE_CASE, str(trained["version"]), "--reason", reason)

    missing = [day for day in DAYS if day not in published(trained["digest"])]

    step(f"{LIVE_DAY} happens again: a streaming worker scores it as it comes")
    topic = fresh_topic(settings, pipeline)
    say(f"fresh topics for this run: {topic}, and {topic}.flight_arrivals for the state")
    with worker(topic):
        typed = ("replay", USE_CASE, *span(LIVE_DAY, LIVE_DAY), "--rate", str(LIVE_RATE))
        say(f"$ lockstep {shlex.join((*typed, '--topic', topic))}")
        day = facts(*typed, "--topic", topic)
        letters = wait_for_letters(send_bad_events(settings, pipeline, topic))

    step("A month behind: the worker was away, and catches up")
    behind = f"{topic}-month"
    typed = ("replay", USE_CASE, *span(*MONTH), "--backlog", "--no-wait", "--topic", behind)
    say(f"$ lockstep {shlex.join(typed)}")
    month = facts(*typed)
    with worker(behind):
        rate = caught_up(behind, month["sent"] + month["before"])

    if missing:
        step(f"Airflow lands {LIVE_DAY} in the lake")
        run_dag(settings, f"{USE_CASE}_land", {"topic": topic})
        step(f"Airflow and Spark score {DAYS[0]} to {LIVE_DAY}")
        backfill(settings, missing)
    else:
        step("Airflow")
        say(f"{DAYS[0]} to {LIVE_DAY} are published already: nothing is landed or scored again")
    days = {day: rows for day, rows in published(trained["digest"]).items() if day in DAYS}

    step("The same day, scored both ways")
    compared = facts("compare", USE_CASE, "--partition", str(LIVE_DAY), "--topic", topic)
    typed = ("audit", USE_CASE, "--partition", str(LIVE_DAY), "--topic", topic)
    say(f"$ lockstep {shlex.join(typed)}")
    audit = facts(*typed)

    step("What happened")
    scored_now = "now" if missing else "in an earlier run"
    say(
        f"Kafka: {day['sent']:,} events of {LIVE_DAY} sent at {LIVE_RATE} a second, answered"
        f" in {day['answers']['p50_ms']:.0f} ms (median), {day['answers']['p99_ms']:.0f} ms (p99)."
    )
    say(
        f"Then {month['sent'] + month['before']:,} events of November waited for a worker, which"
        f" scored {rate:,.0f} of them a second."
    )
    say(f"{len(letters)} bad events were refused, and kept with the reason:")
    for letter in letters:
        say(f"  {letter['reason']}")
    say(f"Airflow scored {len(days)} days, {sum(days.values()):,} rows ({scored_now}).")
    say(
        f"{LIVE_DAY}: {compared['rows_batch']:,} rows by batch,"
        f" {compared['rows_stream']:,} by stream, {compared['rows_both']:,} in both,"
        f" {compared['differ']} differ."
    )
    say(
        f"The audit recomputed the {len(audit['windows'])} windows of {audit['rows']:,} stream rows"
        f" from the lake: {audit['unexplained']} unexplained."
    )
    agree = compared["differ"] == 0 and compared["rows_both"] == compared["rows_batch"]
    agree = agree and compared["rows_both"] == compared["rows_stream"] > 0
    agree = agree and audit["unexplained"] == 0
    say("Batch and stream gave the same answer, bit for bit." if agree else "THEY DO NOT AGREE.")
    next_steps(settings)
    say(f"\n{time.monotonic() - begin:.0f} s.")
    return 0 if agree else 1


def next_steps(settings: Settings) -> None:
    """What to look at, with addresses that work."""
    step("Look around")
    say("lockstep is .venv/bin/lockstep; all of this is still running:")
    say(
        f'  lockstep query {USE_CASE} "select source, event_date, count(*), avg(score)'
        ' from predictions group by 1, 2 order by 1, 2"'
    )
    say("  psql and BI tools read the same views; user and place are in this line, the password in")
    say("  the file that it names:")
    say(f"    {Postgres(Home(settings.home)).psql(USE_CASE)}")
    airflow = Airflow.of(settings)
    say(f"  Airflow  {settings.airflow}  (user {airflow.user}, password {airflow.password})")
    say(f"  MLflow   {settings.mlflow}")
    say(f"  lockstep status, lockstep dlq list {USE_CASE}, lockstep models {USE_CASE}")
    say("Stop everything: lockstep down")


def published(digest: str) -> dict[date, int]:
    """The days that have a published batch of this model, with their rows."""
    answer = facts(
        "query",
        USE_CASE,
        "select event_date, count(*) as rows from predictions"
        f" where source = 'batch' and model_digest = '{digest}' group by 1",
    )
    return {date.fromisoformat(row["event_date"]): row["rows"] for row in answer["rows"]}


def run_dag(settings: Settings, dag: str, conf: dict[str, Any]) -> None:
    """Trigger a DAG and wait for its run."""
    airflow = Airflow.of(settings)
    say(f"triggered {dag} with {json.dumps(conf)}")
    run = airflow.trigger(dag, conf)
    deadline = time.monotonic() + AIRFLOW_LIMIT_S
    while (state := airflow.state(dag, run)) != "success":
        if state == "failed" or time.monotonic() > deadline:
            sys.exit(f"{dag} did not succeed: {state}\nnext: look at {settings.airflow}")
        time.sleep(0.5)
    say(f"  {run}: success")


def backfill(settings: Settings, missing: list[date]) -> None:
    """Let Airflow's scheduler run the days, and watch."""
    airflow = Airflow.of(settings)
    airflow.backfill(f"{USE_CASE}_batch", missing[0], missing[-1])
    deadline = time.monotonic() + AIRFLOW_LIMIT_S
    seen: dict[str, str] = {}
    while True:
        runs = airflow.runs(f"{USE_CASE}_batch")
        for day in sorted(runs):
            if seen.get(day) != runs[day]:
                say(f"  {day}: {runs[day]}")
        seen = runs
        states = [runs.get(str(day)) for day in missing]
        if all(state == "success" for state in states):
            return
        if "failed" in states or time.monotonic() > deadline:
            sys.exit(f"the backfill did not succeed: {runs}\nnext: look at {settings.airflow}")
        time.sleep(1)


def caught_up(topic: str, events: int) -> float:
    """Wait until a backlog is scored; how many events a second, between its first and last row."""
    deadline = time.monotonic() + CATCH_UP_LIMIT_S
    while True:
        [row] = facts(
            "query",
            USE_CASE,
            "select count(*) as rows,"
            " extract(epoch from max(available_at) - min(available_at))::float8 as seconds"
            f" from predictions where source = 'stream' and topic = '{topic}'",
        )["rows"]
        if row["rows"] >= events:
            return float(row["rows"] / max(row["seconds"], 0.001))
        if time.monotonic() > deadline:
            sys.exit(f"the worker scored {row['rows']:,} of {events:,} events\nnext: its log")
        time.sleep(0.5)


@contextmanager
def worker(topic: str) -> Any:
    """A worker for as long as the block runs; SIGTERM drains it at the end."""
    port = free_port()
    log = Settings.load().home / "logs" / "worker.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [COMMAND, "stream", USE_CASE, "--topic", topic, "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + WORKER_READY_LIMIT_S
        while http_missing(f"http://127.0.0.1:{port}/ready"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the worker did not get ready; its log: {log}\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        say(f"ready; its pages: http://127.0.0.1:{port}/health and /metrics")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def fresh_topic(settings: Settings, pipeline: Pipeline) -> str:
    """The pipeline's topic with the next free number, a second one, and their state topics."""
    with topic_admin(settings.kafka) as admin:
        known = set(admin.list_topics())
    number = 1
    while (topic := f"{pipeline.topics.events}.demo-{number}") in known:
        number += 1
    for fresh in (topic, f"{topic}-month"):
        on = pipeline.on(fresh)
        for name in (fresh, *on.state.values()):
            ensure_topic(settings.kafka, name, on.topics.partitions, on.stream.timestamps)
    return topic


def send_bad_events(settings: Settings, pipeline: Pipeline, topic: str) -> int:
    """Send events that nobody could score; returns how many dead letters there are then."""
    before = facts("dlq", "list", USE_CASE, "--limit", "0")["total"]
    producer = KafkaProducer(bootstrap_servers=settings.kafka, acks="all")
    for what, value in BAD_EVENTS.items():
        say(f"sent on purpose: {what}")
        producer.send(topic, value, what.encode())
    producer.close()
    return int(before) + len(BAD_EVENTS)


def wait_for_letters(expected: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 60
    while True:
        listed = facts("dlq", "list", USE_CASE, "--limit", str(len(BAD_EVENTS)))
        if listed["total"] >= expected or time.monotonic() > deadline:
            return list(listed["letters"])
        time.sleep(0.5)


def span(first: date, last: date) -> tuple[str, ...]:
    return ("--from", str(first), "--to", str(last))


COMMAND = str(Path(sys.executable).with_name("lockstep"))


def lockstep(*arguments: str) -> None:
    """Type a command; its output is shown."""
    print(f"$ lockstep {shlex.join(arguments)}", flush=True)
    done = subprocess.run([COMMAND, *arguments])
    if done.returncode:
        sys.exit(done.returncode)


def facts(*arguments: str) -> dict[str, Any]:
    """Type a command with --json; its progress is shown, its facts are returned."""
    done = subprocess.run([COMMAND, *arguments, "--json"], stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(ended(main))
