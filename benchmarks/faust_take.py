"""What a user would write without Lockstep: a stock Faust agent that takes a thousand at a time.

The same model over the same columns, the same rows into the same Postgres, the same answers;
no fence, no dead letters, no outbox. Run by benchmarks/stream.py:

    python -m benchmarks.faust_take MODEL EVENTS_TOPIC SCORED_TOPIC TABLE PORT
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import faust
import numpy as np
import psycopg

from lockstep.compiled_model import open_model
from lockstep.contracts import Contract
from lockstep.scoring import open_scorer
from lockstep.settings import Settings
from lockstep.warehouse.connect import conninfo

TAKE = 1000


def build(model: Path, events: str, scored: str, table: str, port: int) -> Any:
    """The app: one agent over the events topic."""
    settings = Settings.load()
    compiled = open_model(model.read_bytes())
    # The same scorer as the worker has: what is compared is everything around it.
    scorer, contract = open_scorer(compiled, settings.tree_kernel), compiled.contract
    scorer.warm()
    app = faust.App(
        f"faust-take-{events}",
        broker=f"aiokafka://{settings.kafka}",
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=16_384,
        web_bind="127.0.0.1",
        web_host="127.0.0.1",
        web_port=port,
        # benchmarks/stream.py starts it in a folder that it removes.
        datadir=tempfile.mkdtemp(prefix="faust-take-", dir=Path.cwd()),
    )
    answers = app.topic(scored, value_serializer="json")
    info = conninfo(settings, "scorer", compiled.manifest.use_case)
    rows = f'insert into "{table}" values (%s, to_timestamp(%s), %s, %s, %s, now())'

    @app.agent(app.topic(events, value_serializer="json"))
    async def score(stream: Any) -> None:
        connection = await psycopg.AsyncConnection.connect(info)
        async for batch in stream.take(TAKE, within=0.05):
            # It has no windows: as if nothing had happened in them.
            windows = np.full((len(batch), len(compiled.window_names)), np.nan, np.float32)
            result = scorer.score(_columns(contract, batch), windows)
            scores, margins = result.score.tolist(), result.margin.tolist()
            keys = [
                (event[contract.id], event[contract.time] / 1e6, event.get(contract.entity or ""))
                for event in batch
            ]
            async with connection.cursor() as cursor:
                await cursor.executemany(
                    rows,
                    [(*key, s, m) for key, s, m in zip(keys, scores, margins, strict=True)],
                )
            await connection.commit()
            for event, s, m in zip(batch, scores, margins, strict=True):
                answer = {"event_id": event[contract.id], "score": s, "margin": m}
                await answers.send(key=event[contract.id], value=answer)

    return app


def _columns(contract: Contract, batch: list[dict[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for field in contract.fields:
        values = [event.get(field.name) for event in batch]
        if field.kind == "string":
            columns[field.name] = np.array([value or "" for value in values], object)
        else:
            columns[field.name] = np.array(
                values, np.float64 if field.kind == "number" else np.int64
            )
    return columns


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    for name in ("events", "scored", "table"):
        parser.add_argument(name)
    parser.add_argument("port", type=int)
    app = build(**vars(parser.parse_args()))
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()
