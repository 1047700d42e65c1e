"""Features and a trained model in, one certified .onnx file out. Nothing else makes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, StringStringEntryProto

from lockstep.compiled_model import CompiledModel, digest_of, open_model
from lockstep.compiled_model.certificate import Certificate
from lockstep.compiled_model.golden import record_golden
from lockstep.compiled_model.inference import open_session
from lockstep.compiled_model.manifest import (
    FORMAT,
    MANIFEST_KEY,
    Golden,
    Manifest,
    Training,
    encode,
)
from lockstep.compiled_model.parts import trees_part
from lockstep.compiled_model.sealing import seal
from lockstep.compiling.asked import EDGE_EVENTS, Asked, asked_events
from lockstep.compiling.edges import edge_columns, edge_matrix, spread
from lockstep.compiling.graph import Traced
from lockstep.compiling.parity import BATCH_SIZES, RowSet, certify
from lockstep.compiling.same_features import require_own_rows
from lockstep.contracts import Columns, Contract, EncodedColumns, encode_strings, model_inputs
from lockstep.errors import UsageError
from lockstep.estimators.known import load_native, native_of
from lockstep.estimators.protocol import Answers, Cuts, Native
from lockstep.scoring import Scorer, open_scorer
from lockstep.scoring.tree_scorer import TreeScorer
from lockstep.settings import TreeKernel
from lockstep.windows.semantics import WindowSet

__all__ = ["Compiled", "compile_model", "row_sets", "rows_to_answer"]

_EDGE_FEATURES = 20_000
_GOLDEN_SEEN = 32
_GOLDEN_EDGES = 32
_CHUNK = 8192
_ENCODED = 1024
"""Rows of a batch from which on it comes with encoded strings; of the certificate's sizes, those
of batch do, and those of the stream do not."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A compiled model that has its certificate."""

    model: CompiledModel
    certificate: Certificate


def compile_model(
    *,
    use_case: str,
    contract: Contract,
    traced: Traced,
    native: Any,
    validation: Columns,
    training: Training,
    versions: dict[str, str],
    fingerprints: dict[str, str],
    answered: Callable[[int], None] = lambda _: None,
    tree_kernel: TreeKernel = "auto",
) -> Compiled:
    """Compile a trained model, open the result as every scorer will, and certify it.

    `native` is what an estimator's `fit` gave, or a library's own object that an adapter takes: an
    xgboost.Booster, or one of XGBoost's estimators in scikit-learn's style. It was trained on the
    traced features with NaN for what is missing. `validation` are raw columns that were not
    trained on, and the values that the traced windows had there, float32, by name.

    Raises ModelRefused when the compiled model differs from the native one, or the graph's features
    from NumPy's, in any way that they may not; UsageError for an estimator that cannot be compiled,
    or that means another model than it says (`Native.of`). The certificate takes a while:
    `answered` is told rows as they are answered, `rows_to_answer` of them in all.
    """
    found = native_of(native)
    found.require_features(traced.names)
    _require_rows(traced, validation)
    require_own_rows(traced, validation)
    # Certified is what `lockstep verify` will open.
    kept = load_native(found.kind, found.file().data)
    margin, score = found.graph(traced.matrix)
    cuts = found.cuts()
    graph = traced.build({"score": score, "margin": margin})
    reader = traced.reader()
    asked = asked_events(contract, traced.inputs, traced.windows, reader, cuts, validation, traced)
    manifest = Manifest(
        format=FORMAT,
        use_case=use_case,
        contract=dict(contract.document),
        inputs=traced.inputs,
        sources=tuple(traced.windows.sources.values()),
        windows=traced.windows.windows,
        features=traced.names,
        estimator=found.about,
        training=training,
        golden=_golden(graph, contract, traced, cuts, validation),
        score_bound=found.score_bound,
        versions=versions,
        fingerprints=fingerprints,
    )
    data = _serialise(graph, manifest)
    digest = digest_of(data)
    model = open_model(data, digest=digest)
    scorer = open_scorer(model, tree_kernel)
    certificate = certify(
        digest,
        use_case,
        row_sets(model, scorer, asked, kept),
        score_bound=found.score_bound,
        golden_rows=len(manifest.golden.margin),
        versions=versions,
        trees=str(scorer.engine),
        answered=answered,
    )
    return Compiled(model, certificate)


def _require_rows(traced: Traced, validation: Columns) -> None:
    """Raises UsageError for columns that are missing, or of no or of several lengths."""
    wanted = (*(field.name for field in traced.contract.fields), *traced.windows.names)
    lacks = [name for name in wanted if name not in validation]
    if lacks:
        problem = f"the validation rows lack {', '.join(lacks)}"
    else:
        rows = sorted({len(column) for column in validation.values()})
        if len(rows) == 1 and rows[0]:
            return
        problem = f"the validation columns have {', '.join(map(str, rows))} rows"
    raise UsageError(problem, next="columns_from_arrow(contract, table), and a column a window")


def rows_to_answer(validation: int) -> int:
    """How many rows a certificate answers with so many validation rows."""
    return (validation + EDGE_EVENTS + _EDGE_FEATURES) * len(BATCH_SIZES)


def row_sets(
    model: CompiledModel,
    scorer: Scorer,
    asked: Sequence[Asked],
    found: Native,
) -> list[RowSet]:
    """What a certificate compares: the events asked for, and edges of the features.

    The answers are those of `scorer`, as it will serve, with its kernel for the trees.
    """
    sets = []
    for events in asked:
        native = found.answers(events.matrix)
        fields = {name: events.columns[name] for name in model.input_names}
        windows = _values(model.windows, events.columns, len(events.matrix))
        answering = _Scoring(scorer, fields, encode_strings(fields), windows)
        rows = len(events.matrix)
        sets.append(RowSet(events.name, rows, native, answering, events.features_differ))
    features = edge_matrix(found.cuts(), _EDGE_FEATURES)
    native = found.answers(features)
    estimating = _Estimating(scorer, *trees_part(model), features)
    return [*sets, RowSet("edge_features", len(features), native, estimating)]


@dataclass(frozen=True)
class _Scoring:
    """Events, as they are scored: with encoded strings in batches as large as batch has them."""

    scorer: Scorer
    columns: Columns
    encoded: EncodedColumns
    windows: np.ndarray[Any, Any]

    def __call__(self, rows: slice) -> Answers:
        columns = self.encoded if rows.stop - rows.start >= _ENCODED else self.columns
        part = {name: column[rows] for name, column in columns.items()}
        return self.scorer.score(part, self.windows[rows])


@dataclass(frozen=True)
class _Estimating:
    """Row features, in the kernel from that batch size on from which the scorer uses it."""

    scorer: Scorer
    session: Any
    input: str
    matrix: np.ndarray[Any, Any]

    def __call__(self, rows: slice) -> Answers:
        part = self.matrix[rows]
        if isinstance(self.scorer, TreeScorer) and len(part) >= self.scorer.smallest_batch:
            return self.scorer.score_matrix(part)
        score, margin = self.session.run(["score", "margin"], {self.input: part})
        return score, margin


def _golden(
    graph: ModelProto, contract: Contract, traced: Traced, cuts: Cuts, validation: Columns
) -> Golden:
    """Recorded events, then edge events; values of sensitive fields are made up in both."""
    windows = traced.windows
    edges = edge_columns(contract, traced.inputs, windows, cuts, spread(validation, _CHUNK), _CHUNK)
    seen = spread(validation, _GOLDEN_SEEN)
    fields = [wanted.name for wanted in traced.inputs]
    hidden = {name for name in fields if contract.by_name[name].sensitive}
    columns = {}
    for name in (*fields, *windows.names):
        invented = edges[name]
        recorded = invented[-len(seen[name]) :] if name in hidden else seen[name]
        columns[name] = np.concatenate([recorded, invented[:_GOLDEN_EDGES]])
    session = open_session(graph.SerializeToString(deterministic=True))
    score, margin = session.run(["score", "margin"], model_inputs(columns, columns))
    values = _values(windows, columns, len(margin))
    return record_golden({name: columns[name] for name in fields}, values, margin, score)


def _values(windows: WindowSet, columns: Columns, rows: int) -> np.ndarray[Any, Any]:
    """float32[rows, windows], in the order of the manifest."""
    found = np.empty((rows, len(windows)), np.float32)
    for position, name in enumerate(windows.names):
        found[:, position] = columns[name]
    return found


def _serialise(graph: ModelProto, manifest: Manifest) -> bytes:
    model = ModelProto()
    model.CopyFrom(graph)
    del model.metadata_props[:]
    model.metadata_props.append(StringStringEntryProto(key=MANIFEST_KEY, value=encode(manifest)))
    return seal(model.SerializeToString(deterministic=True))
