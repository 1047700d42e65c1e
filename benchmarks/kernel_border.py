"""From how many rows on a tree kernel is quicker than ONNX Runtime, for few trees and for many.

    python -m benchmarks.kernel_border [--quick] [--json FILE]

trees_T_batch_N  raw columns to scores of a model of T trees in batches of N: the whole graph in
                 ONNX Runtime, and in parts with each kernel, whether or not that size is left to it

`lockstep/scoring/trees/choice.py` says where the border is drawn. One core, interleaved.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from benchmarks.report import Report, arguments
from benchmarks.scorer import KERNELS, QUICK_TRAINED, Run, measured, prepare, some
from lockstep.compiled_model import CompiledModel
from lockstep.contracts import Columns, columns_from_arrow
from lockstep.exits import ended
from lockstep.scoring import OnnxScorer, open_scorer
from lockstep.scoring.tree_scorer import TreeScorer

TREES = (20, 100, 300)
BATCHES = (4, 16, 64, 256, 1024, 4096)


def main() -> None:
    given = arguments(__doc__ or "")
    subjects: dict[int, dict[str, Run]] = {}
    for trees in TREES:
        compiled, _, events = prepare(QUICK_TRAINED, trees)
        columns = columns_from_arrow(compiled.model.contract, events)
        subjects[trees] = make_subjects(compiled.model, columns)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    report = Report("kernel_border")
    for repetition in range(2 if given.quick else 6):
        for trees in TREES:
            for batch in BATCHES:
                for subject, run in subjects[trees].items():
                    rate = measured(run, batch, quick=given.quick)
                    if repetition:
                        measure = f"trees_{trees}_batch_{batch}"
                        beside = None if subject == "onnxruntime" else "onnxruntime"
                        report.add(measure, subject, [rate], "rows/s", beside)
    report.publish(given.json)


def make_subjects(model: CompiledModel, columns: Columns) -> dict[str, Run]:
    """Subject -> what answers a slice of the rows."""
    part = partial(some, columns)
    reference = OnnxScorer(model)
    subjects: dict[str, Run] = {"onnxruntime": lambda rows: reference.score(part(rows))}
    for kernel in KERNELS:
        scorer = open_scorer(model, kernel)
        assert isinstance(scorer, TreeScorer)
        subjects[kernel] = lambda rows, scorer=scorer: scorer.score_in_parts(part(rows), None)
    return subjects


if __name__ == "__main__":
    sys.exit(ended(main))
