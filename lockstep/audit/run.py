"""The audit of one day: read, recompute, judge, store, and only then fail.

1. the rows that the stream stored (`stored`)
2. the windows of each model that wrote some of them, from the model by its digest
3. the same windows from the lake (`recompute`), once for models with the same windows
4. the verdict, stored in the warehouse as one audit
5. `require_explained`: CheckFailed when anything is unexplained
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lockstep.audit.report import Report
from lockstep.audit.request import Request
from lockstep.audit.stored import Stored, read_stored
from lockstep.audit.verdict import EXAMPLES, Judged, Recomputed, judge
from lockstep.compiled_model import CompiledModel, open_model
from lockstep.errors import CheckFailed, LakeError
from lockstep.progress import Progress, Silent
from lockstep.registry.mlflow import fetch_model
from lockstep.settings import Settings
from lockstep.spark.session import spark_session
from lockstep.warehouse.audits import AuditedDay, record
from lockstep.warehouse.connect import connect
from lockstep.warehouse.landings import LandedSoFar, landed_so_far

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["audit_day", "require_explained"]

_OfModel = tuple[np.ndarray[Any, Any], Judged, Recomputed]
"""The rows of a model with windows, their verdict, and what the lake gave."""


def audit_day(
    settings: Settings,
    request: Request,
    *,
    master: str | None = None,
    spark: SparkSession | None = None,
    progress: Progress | None = None,
) -> Report:
    """Audit a day and store the result. `master` is where Spark runs; None: where spark-submit
    said. With `spark`, in that session.

    Raises UsageError when the stream scored nothing, LakeError for a day that is not in the lake,
    ModelRefused for a model whose bytes are not those of its digest.
    """
    told = progress or Silent()
    told.start("stored")
    stored = read_stored(settings, request.use_case, request.topic, request.day)  # 1
    models = {  # 2
        digest: open_model(fetch_model(settings, request.use_case, version, digest), digest=digest)
        for digest, version in stored.versions.items()
    }
    told.finish(
        f"{len(stored):,} predictions, {int(stored.incomplete.sum()):,} of them marked incomplete"
    )
    judged: list[_OfModel] = []
    late: dict[str, int] = {}
    told.start("recomputed")
    landed = _landed(settings, request)
    if any(model.windows for model in models.values()):
        with _session(request, master, spark) as session:
            try:
                judged, late = _judged(session, settings, request, stored, models)  # 3
            except LakeError as error:
                so_far = "; ".join(map(str, landed))
                raise LakeError(
                    f"{error.message}. {so_far}", left=error.left, next=error.next
                ) from None
    told.finish(f"{sum(len(verdict.windows) for _, verdict, _ in judged)} windows from the lake")
    found = _day(request, stored, judged, late)  # 4
    with connect(settings, "scorer", request.use_case) as connection:
        number = record(connection, found)
    return Report(request.use_case, number, found, late, dict(stored.versions), landed)


def require_explained(report: Report) -> None:
    """Step 5. Raises CheckFailed naming how many rows are unexplained, and one of them."""
    day = report.day
    if not day.unexplained:
        return
    example = next((e for w in day.windows for e in w.examples if e["kind"] == "unexplained"), None)
    said = f", e.g. {example['event_id']} at {example['event_time']}" if example else ""
    landed = f"; {day.missing:,} of them are not in the lake" if day.missing else ""
    absent = [so_far for so_far in report.landed if not so_far.rows]
    if absent:
        landed += f". {'; '.join(map(str, absent))}"
    # A lake that nothing ever landed in was filled another way.
    behind = any(so_far.newest_day for so_far in absent)
    raise CheckFailed(
        f"{day.unexplained:,} of {day.rows:,} predictions of {day.topic} on {day.day} used window"
        f" values that the lake does not give{said}{landed}",
        left=f"audit {report.audit_id} in the warehouse, and the predictions as they were",
        next=f"lockstep land {report.use_case}, then the audit again: they may not be landed yet"
        if behind or day.missing == day.unexplained
        else f'lockstep query {report.use_case} "select * from window_audits where event_date ='
        f" '{day.day}' and unexplained > 0\"",
    )


def _landed(settings: Settings, request: Request) -> list[LandedSoFar]:
    topics = dict.fromkeys([request.topic, *request.topics.values()])
    with connect(settings, "scorer", request.use_case) as connection:
        return landed_so_far(connection, request.day, list(topics))


@contextmanager
def _session(
    request: Request, master: str | None, spark: SparkSession | None
) -> Iterator[SparkSession]:
    if spark is not None:
        yield spark
        return
    with spark_session(
        f"lockstep audit {request.use_case} {request.day}",
        master,
        left="no audit was stored",
        next="read Spark's log above; then run the audit again",
    ) as session:
        yield session


def _judged(
    spark: SparkSession,
    settings: Settings,
    request: Request,
    stored: Stored,
    models: dict[str, CompiledModel],
) -> tuple[list[_OfModel], dict[str, int]]:
    """Each model with windows; and how many state events of the day came late, by source."""
    from lockstep.audit.recompute import open_day, recompute

    judged: list[_OfModel] = []
    late: dict[str, int] = {}
    by_windows: dict[tuple[str, str], list[str]] = {}
    for digest, model in models.items():
        if model.windows:
            events = json.dumps(model.contract.document, sort_keys=True)
            by_windows.setdefault((model.windows.fingerprint, events), []).append(digest)
    for digests in by_windows.values():
        model = models[digests[0]]
        windows = model.windows
        with open_day(
            spark, request.use_case, settings.lake, model.contract, windows, request.day
        ) as opened:
            for source, count in opened.late_events.items():
                late[source] = max(count, late.get(source, 0))
            for digest in digests:
                rows = np.flatnonzero(stored.digest == digest)
                recomputed = recompute(opened, stored, rows, request.topics)
                values, has = stored.matrix(rows, len(windows))
                ids, times = stored.ids.take(rows), stored.times.take(rows)
                verdict = judge(digest, windows.names, ids, times, values, has, recomputed)
                judged.append((rows, verdict, recomputed))
    return judged, late


def _day(
    request: Request,
    stored: Stored,
    judged: list[_OfModel],
    late: dict[str, int],
) -> AuditedDay:
    """All models together. A row of a model without windows used none: it is equal."""
    incomplete = sum(int(verdict.incomplete.sum()) for _, verdict, _ in judged)
    unexplained = sum(int(verdict.unexplained.sum()) for _, verdict, _ in judged)
    missing = [row for rows, _, told in judged for row in rows[~told.found].tolist()]
    copies = {
        int(rows[row]): places
        for rows, _, told in judged
        for row, places in sorted(told.copies.items())
    }
    return AuditedDay(
        run_id=request.run_id,
        day=request.day,
        topic=request.topic,
        rows=len(stored),
        equal=len(stored) - incomplete - unexplained,
        incomplete=incomplete,
        unexplained=unexplained,
        missing=len(missing),
        conflicting=len(copies),
        late_events=sum(late.values()),
        late_changed=sum(int(verdict.late_changed.sum()) for _, verdict, _ in judged),
        examples=[
            *({"kind": "missing", **_event(stored, row)} for row in missing[:EXAMPLES]),
            *(
                {
                    "kind": "conflicting copies",
                    **_event(stored, row),
                    "scored": [stored.partitions[row].as_py(), stored.offsets[row].as_py()],
                    "copies": copies[row],
                }
                for row in [*copies][:EXAMPLES]
            ),
        ],
        windows=[window for _, verdict, _ in judged for window in verdict.windows],
    )


def _event(stored: Stored, row: int) -> dict[str, str]:
    return {
        "event_id": stored.ids[row].as_py(),
        "event_time": stored.times[row].as_py().isoformat(),
    }
