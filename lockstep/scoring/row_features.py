"""Row features as the tree kernels read them, from the columns of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lockstep.compiled_model import CompiledModel
from lockstep.compiled_model.feature_columns import COLUMNS, cut_feature_columns
from lockstep.contracts import EncodedColumns, EncodedStrings, model_inputs
from lockstep.scoring.scorer import model_feed

__all__ = ["RowFeatures"]


class RowFeatures:
    """The features at some positions of a model's matrix, in ONNX Runtime."""

    def __init__(self, model: CompiledModel, wanted: Sequence[int]) -> None:
        self._model = model
        self._cut = cut_feature_columns(model, wanted)
        read = {given.name for given in self._cut.rest.get_inputs()}
        self._reads = read & {*model.input_names, *model.window_names}
        self._asked = [name for names in self._cut.answers.values() for name in names]

    def read(
        self, columns: EncodedColumns, windows: np.ndarray[Any, Any] | None
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """float32[wanted, n]. What is asked of an encoded string is asked once a value."""
        feed = model_feed(self._model, columns, windows, self._reads)
        if self._asked:
            feed |= self._ask({field: columns[field] for field in self._cut.answers})
        (found,) = self._cut.rest.run([COLUMNS], feed)
        features: np.ndarray[Any, np.dtype[np.float32]] = found
        return features

    def _ask(self, strings: EncodedColumns) -> dict[str, Any]:
        """Answer -> what it is for each row."""
        encoded = {
            field: column for field, column in strings.items() if isinstance(column, EncodedStrings)
        }
        if len(encoded) < len(strings):
            return self._answers(model_inputs(strings, strings))
        values = {field: column.objects() for field, column in encoded.items()}
        longest = max(map(len, values.values()))
        found = self._answers({field: _padded(one, longest) for field, one in values.items()})
        return {
            name: found[name][encoded[field].codes]
            for field, names in self._cut.answers.items()
            for name in names
        }

    def _answers(self, strings: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(self._asked, self._cut.questions.run(self._asked, strings), strict=True))


def _padded(values: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    """Different strings of one field, as many as there are of another."""
    return np.concatenate([values, np.full(length - len(values), "", object)])
