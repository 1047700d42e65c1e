"""Row features as the tree kernels read them, from the columns of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.feature_columns import COLUMNS, cut_feature_columns
from lockstep.contracts import EncodedColumns, EncodedStrings
from lockstep.scoring.scorer import model_feed

__all__ = ["RowFeatures"]


class RowFeatures:
    """The features at some positions of a model's matrix, in ONNX Runtime."""

    def __init__(self, model: CompiledModel, wanted: Sequence[int]) -> None:
        self._model = model
        self._cut = cut = cut_feature_columns(model, wanted)
        self._whole_reads = _names(cut.whole.get_inputs())
        self._rest_reads = _names(cut.rest.get_inputs()) & {*model.input_names, *model.window_names}
        self._answers = {
            field: [answer.name for answer in session.get_outputs()]
            for field, session in cut.questions.items()
        }

    def read(
        self, columns: EncodedColumns, windows: np.ndarray[Any, Any] | None
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """float32[wanted, n]. What is asked of an encoded string is asked once a value."""
        cut = self._cut
        strings = {
            field: column
            for field in cut.questions
            if isinstance(column := columns[field], EncodedStrings)
        }
        if len(strings) < len(cut.questions):
            feed = model_feed(self._model, columns, windows, self._whole_reads)
            return _only(cut.whole.run([COLUMNS], feed))
        feed = model_feed(self._model, columns, windows, self._rest_reads)
        for field, encoded in strings.items():
            found = cut.questions[field].run(self._answers[field], {field: encoded.objects()})
            for name, answers in zip(self._answers[field], found, strict=True):
                feed[name] = answers[encoded.codes]
        return _only(cut.rest.run([COLUMNS], feed))


def _names(inputs: Sequence[Any]) -> set[str]:
    return {given.name for given in inputs}


def _only(found: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    (columns,) = found
    return columns
