"""Opening a scorer: a kernel serves only as long as it answers as ONNX Runtime, bit for bit."""

from __future__ import annotations

import io
import logging
import pickle
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from lockstep.batch import tasks
from lockstep.compiled_model.parts import cut_at_trees, features_part
from lockstep.contracts import EncodedStrings, encoded_columns
from lockstep.errors import UsageError
from lockstep.kafka.reader import Reader
from lockstep.pipeline import Pipeline
from lockstep.scoring import Engine, OnnxScorer, Scores, open_scorer
from lockstep.scoring import trusted as trusted_module
from lockstep.scoring.row_features import RowFeatures
from lockstep.scoring.spark import SentModel, _Worker
from lockstep.scoring.trees import choice
from lockstep.scoring.trees.edge_rows import edge_rows
from lockstep.scoring.trees.kernel import KernelUnavailable
from lockstep.scoring.trees.numpy_kernel import NumpyKernel
from lockstep.scoring.trees.tables import read_trees
from lockstep.settings import Settings
from lockstep.warehouse.staging import Attempt
from streaming import model_refresh
from streaming.status import Status
from tests.scoring.tree_cases import LEQ, LT, Case, Drawn
from tests.small_model import (
    REPOSITORY,
    departures,
    flights,
    small_compiled,
    some,
    windowed_compiled,
    windows_of,
)

FIRST, ROWS = 70_000, 2_600
KERNELS = ("compiled", "numpy")


def same(found: Scores, expected: Scores) -> bool:
    return all(
        (a.view(np.int32) == b.view(np.int32)).all() for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_caller_sees_a_difference(kernel):
    model = small_compiled().model
    scorer = open_scorer(model, kernel)
    assert scorer.engine == Engine(kernel)
    whole = OnnxScorer(model).score(some(slice(FIRST, FIRST + ROWS)))
    scorer.warm()
    for rows in (*range(0, 130), 1_000, ROWS):
        found = scorer.score(some(slice(FIRST, FIRST + rows)))
        assert same(found, Scores(*(column[:rows] for column in whole)))


@pytest.mark.parametrize("kernel", KERNELS)
def test_with_windows(kernel):
    model, rows = windowed_compiled().model, slice(9_000, 9_700)
    scorer = open_scorer(model, kernel)
    assert scorer.engine == Engine(kernel)
    expected = OnnxScorer(model).score(some(rows), windows_of(rows))
    assert same(scorer.score(some(rows), windows_of(rows)), expected)
    encoded = encoded_columns(departures(), flights()[departures().source].slice(9_000, 700))
    assert same(scorer.score(encoded, windows_of(rows)), expected)
    with pytest.raises(ValueError, match=r"windows has shape None, not \[n, 8\]"):
        scorer.score(some(rows))


@pytest.mark.parametrize("kernel", [*KERNELS, "onnxruntime"])
def test_strings_may_come_encoded(kernel):
    """As batch has them: each different one once, and asked once."""
    model, table = small_compiled().model, flights()[departures().source]
    scorer = open_scorer(model, kernel)
    for rows in (0, 1, 3, 64, 129, ROWS):
        encoded = encoded_columns(departures(), table.slice(FIRST, rows))
        expected = OnnxScorer(model).score(some(slice(FIRST, FIRST + rows)))
        assert same(scorer.score(encoded), expected)


def test_strings_that_are_answered_wrongly_when_encoded_are_noticed(monkeypatch):
    """A kernel serves batch and stream, and so is compared on both forms of a column."""
    read = RowFeatures.read

    def shifted(self, columns, windows):
        if isinstance(columns["carrier"], EncodedStrings):
            codes = np.roll(columns["carrier"].codes, 1)
            columns = {**columns, "carrier": EncodedStrings(codes, columns["carrier"].values)}
        return read(self, columns, windows)

    monkeypatch.setattr(RowFeatures, "read", shifted)
    engine = open_scorer(small_compiled().model).engine
    assert engine.distrusted
    assert re.search(r"differs on \d+ of 576 golden rows", str(engine))


def test_the_fastest_kernel_is_the_usual_one():
    assert open_scorer(small_compiled().model).engine == Engine("compiled")


def test_onnx_runtime_when_it_is_asked_for():
    scorer = open_scorer(small_compiled().model, "onnxruntime")
    assert isinstance(scorer, OnnxScorer)
    assert str(scorer.engine) == "onnxruntime"


class _OneBitOff(NumpyKernel):
    """Wrong in the last bit, and on NaN only."""

    def __call__(self, columns):
        found = super().__call__(columns)
        missing = np.isnan(columns).any(axis=0)
        found[missing] = np.nextafter(found[missing], np.float32(np.inf))
        return found


class _Failing(NumpyKernel):
    def __call__(self, columns):
        raise RuntimeError("out of luck")


def _unmade(layout):
    raise TypeError("another llvmlite")


class _LargeBatches(NumpyKernel):
    """Wrong beyond a chunk of 4,096 rows only."""

    def __call__(self, columns):
        found = super().__call__(columns)
        found[4_096:] += 1
        return found


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (_OneBitOff, r"differs on \d+ of \d+ edge rows"),
        (_LargeBatches, r"differs on 1 of 4674 edge rows"),
        (_Failing, "failed: RuntimeError: out of"),
        (_unmade, "failed: TypeError: another llvmlite"),
    ],
)
def test_a_kernel_that_differs_does_not_serve(monkeypatch, caplog, broken, why):
    monkeypatch.setattr(trusted_module, "MAKERS", {**choice.MAKERS, "compiled": broken})
    model = small_compiled().model
    with caplog.at_level(logging.WARNING, "lockstep.scoring"):
        scorer = open_scorer(model)
    assert isinstance(scorer, OnnxScorer)
    assert scorer.engine.name == "onnxruntime"
    assert scorer.engine.distrusted
    assert scorer.engine.why is not None
    assert re.search(why, scorer.engine.why)
    assert f"because the compiled kernel {scorer.engine.why[20:]}" in caplog.text
    rows = some(slice(0, 300))
    assert same(scorer.score(rows), OnnxScorer(model).score(rows))


def test_a_model_that_cannot_be_cut_is_scored_all_the_same(monkeypatch, caplog):
    def failing(*_):
        raise ValueError("what nobody expected")

    monkeypatch.setattr(trusted_module, "lay_out", failing)
    engine = open_scorer(small_compiled().model).engine
    why = "the cut failed: ValueError: what nobody expected"
    assert engine == Engine("onnxruntime", why, distrusted=True)
    assert "could not be cut: ONNX Runtime evaluates it" in caplog.text


@pytest.mark.parametrize(
    ("asked", "level"), [("auto", logging.INFO), ("compiled", logging.WARNING)]
)
def test_a_host_without_compiled_code_has_numpy(monkeypatch, caplog, asked, level):
    def refused(_):
        raise KernelUnavailable("llvmlite is not installed")

    monkeypatch.setattr(trusted_module, "MAKERS", {**choice.MAKERS, "compiled": refused})
    with caplog.at_level(logging.INFO, "lockstep.scoring"):
        scorer = open_scorer(small_compiled().model, asked)
    assert scorer.engine == Engine("numpy", "llvmlite is not installed")
    assert [record.levelno for record in caplog.records] == [level]


def test_a_process_that_may_not_make_memory_executable():
    """The kernel's own control, PR_SET_MDWE, is what systemd and SELinux do to a service."""
    code = """
import ctypes, sys
from lockstep.compiled_model import open_model
from lockstep.scoring import open_scorer
data = sys.stdin.buffer.read()
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit(77)
print(open_scorer(open_model(data)).engine)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=small_compiled().model.data,
        capture_output=True,
        cwd=REPOSITORY,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this Linux has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().startswith("numpy (this process may not make memory executable)")


def test_a_graph_without_such_trees_stays_with_onnx_runtime(monkeypatch):
    from lockstep.scoring.trees import layout

    monkeypatch.setattr(layout, "DEEPEST", 3)
    engine = open_scorer(small_compiled().model).engine
    assert engine == Engine("onnxruntime", "it has trees of more than 3 levels")


def test_an_unknown_kernel_is_named(monkeypatch):
    monkeypatch.setenv("LOCKSTEP_TREE_KERNEL", "gpu")
    with pytest.raises(UsageError, match=r"LOCKSTEP_TREE_KERNEL: .*'numpy'.*\(value: 'gpu'\)"):
        Settings.load()


def test_a_spark_worker_opens_its_own():
    compiled = small_compiled().model
    sent = SentModel(compiled.data, compiled.digest, "compiled")
    worker = _Worker.get(pickle.loads(pickle.dumps(sent)))  # noqa: S301
    assert worker.scorer.engine == Engine("compiled")
    assert _Worker.get(sent) is worker


def test_a_spark_task_tells_that_its_kernel_is_distrusted(monkeypatch):
    monkeypatch.setattr(trusted_module, "MAKERS", {**choice.MAKERS, "compiled": _OneBitOff})
    monkeypatch.setattr(_Worker, "opened", None)
    compiled = small_compiled().model
    sent = SentModel(compiled.data, compiled.digest)
    monkeypatch.setattr(tasks, "_stage", lambda *_: 5 if _Worker.get(sent) else 0)
    (outcome,) = tasks.score_batches(
        tasks.ScoringAssignment(sent, Attempt.__new__(Attempt), ""), []
    )
    (told,) = outcome.to_pylist()
    assert (told["rows"], told["error"]) == (5, None)
    assert told["distrusted"].startswith("onnxruntime (the compiled kernel differs on ")
    monkeypatch.setattr(_Worker, "opened", None)


def test_a_kernel_serves_from_as_many_rows_on_as_are_worth_it():
    """Rows times trees: few trees are quick in ONNX Runtime too."""
    assert [choice.smallest_batch("compiled", trees) for trees in (1, 7, 300, 5_000)] == [
        *(1_300, 186, 5, 1),
    ]
    assert choice.smallest_batch("numpy", 300) == 64


def test_edge_rows_arrive_where_they_should():
    """At their thresholds, one float beside them, and with every special value in every column."""
    drawn = Drawn(Case(4, 10, 6, features=3, modes=(LT, LEQ), stop=0.1))
    trees = read_trees(drawn.node)
    rows = edge_rows(trees, 3)
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert (rows.view(np.int32) == edge_rows(trees, 3).view(np.int32)).all()
    for column in rows.T:
        assert np.isnan(column).any()
        assert {np.inf, -np.inf} <= set(column.tolist())
        assert (column.view(np.int32) == np.float32(-0.0).view(np.int32)).any()
    with np.errstate(over="ignore"):
        lower = np.nextafter(trees.below, np.float32(-np.inf))
    for feature, threshold, next_below in zip(trees.feature, trees.below, lower, strict=True):
        assert (rows[:, feature] == threshold).any()
        assert (rows[:, feature] == next_below).any()


def test_parts_of_a_model_give_what_the_whole_gives():
    model = small_compiled().model
    parts, raw = cut_at_trees(model), some(slice(0, 400))
    matrix = features_part(model).read(raw)
    (total,) = parts.trees.run(None, {parts.node.input[0]: matrix})
    found = parts.link.run(["score", "margin"], {parts.node.output[0]: total})
    assert same(Scores(*found), OnnxScorer(model).score(raw))


@pytest.mark.parametrize("kernel", ["compiled", "distrusted"])
def test_the_worker_says_what_evaluates_its_trees(monkeypatch, kernel):
    """In its health page and, where a kernel differed, in its metrics."""
    if kernel == "distrusted":
        monkeypatch.setattr(trusted_module, "MAKERS", {**choice.MAKERS, "compiled": _OneBitOff})

    @contextmanager
    def nothing(*_):
        yield

    class Approval:
        sequence, model_version, digest = 7, 3, "d" * 64

    monkeypatch.setattr(model_refresh, "connect", lambda *_: io.BytesIO())
    monkeypatch.setattr(model_refresh, "answered", nothing)
    monkeypatch.setattr(model_refresh, "current", lambda _: None)
    monkeypatch.setattr(
        model_refresh, "approved_model", lambda *_: (Approval, small_compiled().model)
    )
    status = Status("flight_delay")
    pipeline = Pipeline.load("flight_delay", REPOSITORY / "models")
    reader, stop = Reader("127.0.0.1:9"), threading.Event()
    refresher = model_refresh.ModelRefresher(Settings(), pipeline, reader, status, stop)
    refresher._refresh()
    said = status.describe()["serving"]["trees"]
    counted = status.registry.get_sample_value("lockstep_tree_kernels_distrusted_total")
    if kernel == "distrusted":
        assert said.startswith("onnxruntime (the compiled kernel differs on ")
    else:
        assert said == "compiled"
    assert counted == (kernel == "distrusted")
