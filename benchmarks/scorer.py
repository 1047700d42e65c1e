"""Rows per second on one core: raw columns to score, beside XGBoost and the trees alone.

    python -m benchmarks.scorer [--quick] [--json FILE]

raw_to_score_N  the whole compiled graph on raw event columns, beside native XGBoost that is
                handed the finished features (which somebody else would have to compute)
trees_N         the same trees alone on finished features: ONNX Runtime beside XGBoost
features_N      the row features alone

N is the batch. The same rows, in one process, interleaved; before anything is measured, all
subjects must have given the same margins.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import xgboost

from benchmarks.report import Report, arguments
from lockstep.compiled_model.manifest import Training
from lockstep.compiled_model.parts import features_part, trees_part
from lockstep.compiling import Compiled, compile_model, trace
from lockstep.contracts import Columns, Contract, columns_from_arrow
from lockstep.scoring import OnnxScorer
from models.flight_delay import data
from models.flight_delay.features import row_features
from models.flight_delay.model import MODEL

BATCHES = (1, 64, 512, 2048, 8192)
ROWS = 32_768
TRAINED = slice(0, 100_000)
QUICK_TRAINED = slice(0, 20_000)
SCORED_FROM = 200_000
Run = Callable[[slice], Any]


def main() -> None:
    given = arguments(__doc__ or "")
    compiled, booster, columns = prepare(QUICK_TRAINED if given.quick else TRAINED)
    subjects = make_subjects(compiled, booster, columns)
    # One core for everybody, so that no subject borrows a second one.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    report = Report("scorer")
    for repetition in range(3 if given.quick else 7):
        for batch in BATCHES:
            for (measure, subject, beside), run in subjects.items():
                rate = measured(run, batch, quick=given.quick)
                if repetition:  # the first one warms caches and allocators
                    report.add(f"{measure}_{batch}", subject, [rate], "rows/s", beside)
    report.publish(given.json)


def prepare(trained: slice) -> tuple[Compiled, xgboost.Booster, Columns]:
    """A model with the row features and the parameters of the use case, and columns to score."""
    schemas = Path("schemas/flight_delay")
    departures, arrivals = (Contract.load(schemas / name) for name in data.CONTRACTS)
    left, arrived = data.tables(departures, arrivals)
    everything = columns_from_arrow(departures, left)
    found = pc.index_in(left["event_id"].combine_chunks(), arrived["event_id"].combine_chunks())
    late = pc.fill_null(pc.take(arrived["arr_delay"], found), 0).to_numpy() > 15
    rows = {name: column[trained] for name, column in everything.items()}
    scored = {name: column[SCORED_FROM : SCORED_FROM + ROWS] for name, column in everything.items()}
    traced = trace(row_features, MODEL.fit(rows), departures)
    matrix = xgboost.QuantileDMatrix(traced.reader().read(rows), label=late[trained], nthread=1)
    booster = xgboost.train({**MODEL.parameters, "nthread": 1}, matrix, MODEL.trees)
    about = Training("", "", "", "", len(late[trained]), 0, ROWS, 0, {}, {}, {}, ())
    compiled = compile_model(
        use_case="flight_delay",
        contract=departures,
        traced=traced,
        booster=booster,
        validation={name: column[:2048] for name, column in scored.items()},
        training=about,
        versions={},
        fingerprints={},
    )
    return compiled, booster, scored


def make_subjects(
    compiled: Compiled, booster: xgboost.Booster, columns: Columns
) -> dict[tuple[str, str, str | None], Run]:
    """(measure, subject, beside) -> what answers a slice of the rows."""
    scorer = OnnxScorer(compiled.model)
    features = features_part(compiled.model)
    matrix = features.read(columns)
    trees, name = trees_part(compiled.model)

    def part(rows: slice) -> Columns:
        return {name: column[rows] for name, column in columns.items()}

    def native(rows: slice) -> Any:
        return booster.inplace_predict(matrix[rows], missing=np.nan)

    def alone(rows: slice) -> Any:
        return trees.run(["score", "margin"], {name: matrix[rows]})

    whole = slice(0, ROWS)
    margins = (
        booster.inplace_predict(matrix, predict_type="margin", missing=np.nan),
        alone(whole)[1],
        scorer.score(part(whole)).margin,
    )
    for found in margins[1:]:
        differ = int((found.view(np.int32) != margins[0].view(np.int32)).sum())
        assert differ == 0, f"{differ} margins differ from native"
    return {
        ("raw_to_score", "onnxruntime", "xgboost"): lambda rows: scorer.score(part(rows)),
        ("raw_to_score", "xgboost", None): native,
        ("trees", "onnxruntime", "xgboost"): alone,
        ("trees", "xgboost", None): native,
        ("features", "onnxruntime", None): lambda rows: features.read(part(rows)),
    }


def measured(run: Run, batch: int, *, quick: bool) -> float:
    """Rows per second over enough batches to be worth a clock."""
    rows = min(ROWS, max(batch, (500 if quick else 2_000) if batch == 1 else 16_384))
    batches = [slice(start, start + batch) for start in range(0, rows - batch + 1, batch)]
    started = time.perf_counter()
    for one in batches:
        run(one)
    return len(batches) * batch / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
