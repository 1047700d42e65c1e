"""Rows per second on one core: raw columns to score, and the trees alone.

    python -m benchmarks.scorer [--quick] [--json FILE]

raw_to_score_N  raw event columns to scores: the whole graph in ONNX Runtime, and with a kernel
                for the trees; beside them native XGBoost that is handed the finished features
                (which somebody else would have to compute)
trees_N         the same trees alone, on finished features, which each has as it reads them (the
                kernels column after column, the others row after row): both kernels, the compiled
                one also for lesser processors (avx2, sse); ONNX Runtime and native XGBoost
features_N      the row features alone: side by side for ONNX Runtime's trees, and column after
                column for a kernel's, of strings as Python objects and of encoded ones
arrow_N         an Arrow batch to scores, which is what a Spark task does: columns, contract, score;
                with strings as Python objects and encoded, with and without a kernel
open_s          a process's first model, with each kernel: verify, cut, compile, compare, warm
open_own_mb     the memory that a kernel adds to the process
open_file_mb    the same of files that processes share: LLVM's library, mostly

N is the batch. The same rows, in one process, interleaved; before anything is measured, all
subjects must have given the same margins.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xgboost

from benchmarks.report import Report, arguments
from lockstep.compiled_model.manifest import Training
from lockstep.compiled_model.parts import cut_at_trees, features_part, trees_part
from lockstep.compiling import Compiled, compile_model, trace
from lockstep.contracts import (
    Columns,
    Contract,
    EncodedColumns,
    Validator,
    columns_from_arrow,
    encoded_columns,
)
from lockstep.exits import ended
from lockstep.scoring import OnnxScorer, Scorer, open_scorer
from lockstep.scoring.row_features import RowFeatures
from lockstep.scoring.trees.compiled_kernel import CompiledKernel, Processor, this_processor
from lockstep.scoring.trees.layout import lay_out
from lockstep.scoring.trees.numpy_kernel import NumpyKernel
from lockstep.scoring.trees.tables import read_trees
from lockstep.settings import TreeKernel
from models.flight_delay import data
from models.flight_delay.features import row_features
from models.flight_delay.model import MODEL

BATCHES = (1, 64, 512, 2048, 8192)
ROWS = 32_768
TRAINED = slice(0, 100_000)
QUICK_TRAINED = slice(0, 20_000)
SCORED_FROM = 200_000
KERNELS: tuple[TreeKernel, ...] = ("numpy", "compiled")
LESSER = {
    "compiled_avx2": Processor("haswell", ""),
    "compiled_sse": Processor("x86-64-v2", ""),
}
"""Processors whose code this one runs as well."""
Run = Callable[[slice], Any]


def main() -> None:
    given = arguments(__doc__ or "")
    compiled, booster, events = prepare(QUICK_TRAINED if given.quick else TRAINED)
    subjects = {
        **make_subjects(compiled, booster, columns_from_arrow(compiled.model.contract, events)),
        **make_tasks(compiled, events),
    }
    # One core for everybody, so that no subject borrows a second one.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    report = Report("scorer")
    for repetition in range(3 if given.quick else 7):
        for batch in BATCHES:
            for (measure, subject, beside), run in subjects.items():
                rate = measured(run, batch, quick=given.quick)
                if repetition:  # the first one warms caches and allocators
                    report.add(f"{measure}_{batch}", subject, [rate], "rows/s", beside)
    for _ in range(2 if given.quick else 5):
        found = {
            kernel: opened(compiled.model.data, kernel) for kernel in ("onnxruntime", *KERNELS)
        }
        for kernel, (seconds, *_) in found.items():
            report.add("open_s", kernel, [seconds], "s")
        _, own, files = found["onnxruntime"]
        for kernel in KERNELS:
            report.add("open_own_mb", kernel, [found[kernel][1] - own], "MB")
            report.add("open_file_mb", kernel, [found[kernel][2] - files], "MB")
    processor = this_processor()
    print(f"compiled for {processor.name}, widest vectors: {processor.vectors}")
    report.publish(given.json)


def prepare(
    trained: slice, trees: int = MODEL.estimator.trees
) -> tuple[Compiled, xgboost.Booster, pa.Table]:
    """A model with the row features and the parameters of the use case, and events to score."""
    schemas = Path("schemas/flight_delay")
    departures, arrivals = (Contract.load(schemas / name) for name in data.CONTRACTS)
    left, arrived = data.tables(departures, arrivals)
    everything = columns_from_arrow(departures, left)
    found = pc.index_in(left["event_id"].combine_chunks(), arrived["event_id"].combine_chunks())
    late = pc.fill_null(pc.take(arrived["arr_delay"], found), 0).to_numpy() > 15
    rows = {name: column[trained] for name, column in everything.items()}
    scored = slice(SCORED_FROM, SCORED_FROM + 2048)
    traced = trace(row_features, MODEL.fit(rows), departures)
    matrix = xgboost.QuantileDMatrix(traced.reader().read(rows), label=late[trained], nthread=1)
    booster = xgboost.train({**MODEL.estimator.parameters, "nthread": 1}, matrix, trees)
    about = Training("", "", "", "", len(late[trained]), 0, ROWS, 0, {}, {}, {}, ())
    compiled = compile_model(
        use_case="flight_delay",
        contract=departures,
        traced=traced,
        native=booster,
        validation={name: column[scored] for name, column in everything.items()},
        training=about,
        versions={},
        fingerprints={},
    )
    return compiled, booster, left.slice(SCORED_FROM, ROWS).combine_chunks()


def make_subjects(
    compiled: Compiled, booster: xgboost.Booster, columns: Columns
) -> dict[tuple[str, str, str | None], Run]:
    """(measure, subject, beside) -> what answers a slice of the rows."""
    model = compiled.model
    features = features_part(model)
    matrix = features.read(columns)
    session, name = trees_part(model)
    scorers: dict[str, Scorer] = {"onnxruntime": OnnxScorer(model)}
    for kernel in KERNELS:
        scorers[kernel] = open_scorer(model, kernel)
        assert scorers[kernel].engine.name == kernel, scorers[kernel].engine
    layout = lay_out(read_trees(cut_at_trees(model).node), matrix.shape[1])
    kernels = {
        "numpy": NumpyKernel(layout),
        "compiled": CompiledKernel(layout),
        **{
            name: CompiledKernel(layout, processor)
            for name, processor in LESSER.items()
            if platform.machine() == "x86_64"
        },
    }

    columns_of_rows = cache(lambda start, stop: layout.columns_of(matrix[start:stop]))
    row_features = RowFeatures(model, layout.reads.tolist())

    part = partial(some, columns)

    def native(rows: slice) -> Any:
        return booster.inplace_predict(matrix[rows], missing=np.nan)

    def alone(rows: slice) -> Any:
        return session.run(["score", "margin"], {name: matrix[rows]})

    whole = slice(0, ROWS)
    expected = booster.inplace_predict(matrix, predict_type="margin", missing=np.nan)
    margins = [
        alone(whole)[1],
        *(scorer.score(part(whole)).margin for scorer in scorers.values()),
        *(kernel(layout.columns_of(matrix))[:, 0] for kernel in kernels.values()),
    ]
    for found in margins:
        differ = int((found.view(np.int32) != expected.view(np.int32)).sum())
        assert differ == 0, f"{differ} margins differ from native"
    # The defaults of the lambdas bind them to one subject each.
    return {
        ("raw_to_score", "onnxruntime", "xgboost"): lambda r: scorers["onnxruntime"].score(part(r)),
        **{
            ("raw_to_score", kernel, "onnxruntime"): lambda r, s=scorers[kernel]: s.score(part(r))
            for kernel in KERNELS
        },
        ("raw_to_score", "xgboost", None): native,
        ("trees", "onnxruntime", "xgboost"): alone,
        **{
            ("trees", name, "xgboost"): lambda r, k=kernel: k(columns_of_rows(r.start, r.stop))
            for name, kernel in kernels.items()
        },
        ("trees", "xgboost", None): native,
        ("features", "by_row", None): lambda r: features.read(part(r)),
        ("features", "by_column", "by_row"): lambda r: row_features.read(part(r), None),
    }


def some(columns: Columns, rows: slice) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def make_tasks(compiled: Compiled, events: pa.Table) -> dict[tuple[str, str, str | None], Run]:
    """The same of what starts with Arrow, and ends with scores of events that fit."""
    model = compiled.model
    reads = lay_out(read_trees(cut_at_trees(model).node), len(model.manifest.features)).reads
    row_features, validator = RowFeatures(model, reads.tolist()), Validator(model.contract)
    reference, compiled_scorer = OnnxScorer(model), open_scorer(model, "compiled")

    @cache
    def encoded(start: int, stop: int) -> EncodedColumns:
        return encoded_columns(model.contract, events.slice(start, stop - start))

    def task(scorer: Scorer, columns: Callable[..., EncodedColumns]) -> Run:
        def run(rows: slice) -> None:
            found = columns(model.contract, events.slice(rows.start, rows.stop - rows.start))
            assert not validator.violations(found)
            scorer.score(found)

        return run

    return {
        ("features", "by_column_encoded", "by_row"): lambda r: row_features.read(
            encoded(r.start, r.stop), None
        ),
        ("arrow", "onnxruntime", None): task(reference, columns_from_arrow),
        ("arrow", "compiled", "onnxruntime"): task(compiled_scorer, columns_from_arrow),
        ("arrow", "compiled_encoded", "onnxruntime"): task(compiled_scorer, encoded_columns),
    }


def opened(data: bytes, kernel: str) -> tuple[float, ...]:
    """A new process opens a model and its scorer: seconds, its own megabytes, those of files."""
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, kernel], input=data, capture_output=True, check=True
    )
    return tuple(float(figure) for figure in done.stdout.split())


_OPEN = """
import re, sys, time
from pathlib import Path
from lockstep.compiled_model import open_model
from lockstep.scoring import open_scorer
data = sys.stdin.buffer.read()
started = time.perf_counter()
open_scorer(open_model(data), sys.argv[1]).warm()
seconds = time.perf_counter() - started
status = Path("/proc/self/status").read_text()
memory = dict(re.findall(r"(Rss\\w+):\\s+(\\d+)", status))
print(seconds, *(int(memory[name]) / 1024 for name in ("RssAnon", "RssFile")))
"""


def measured(run: Run, batch: int, *, quick: bool) -> float:
    """Rows per second over enough batches to be worth a clock."""
    rows = min(ROWS, max(batch, (500 if quick else 2_000) if batch == 1 else 16_384))
    batches = [slice(start, start + batch) for start in range(0, rows - batch + 1, batch)]
    started = time.perf_counter()
    for one in batches:
        run(one)
    return len(batches) * batch / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(ended(main))
