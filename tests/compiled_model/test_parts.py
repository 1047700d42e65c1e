"""The halves of a compiled model give what the whole gives."""

from __future__ import annotations

import numpy as np

from lockstep.compiled_model.parts import features_part, trees_part
from lockstep.contracts import model_inputs
from tests.small_model import departures, small_compiled, some


def test_features_and_trees_apart_give_what_the_whole_gives():
    model = small_compiled().model
    raw = some(slice(50_000, 70_000))
    matrix = features_part(model).read(raw)
    assert matrix.shape == (20_000, len(model.manifest.features))
    session, name = trees_part(model)
    apart = session.run(["score", "margin"], {name: matrix})
    whole = model.session.run(["score", "margin"], model_inputs(raw, model.input_names))
    for ours, theirs in zip(apart, whole, strict=True):
        assert (ours.view(np.int32) == theirs.view(np.int32)).all()


def test_no_rows():
    model = small_compiled().model
    none = some(slice(0, 0))
    assert features_part(model).read(none).shape == (0, len(model.manifest.features))


def test_the_manifest_describes_the_matrix():
    model = small_compiled().model
    matrix = features_part(model).read(some(slice(0, 500)))
    names = list(model.manifest.features)
    assert set(np.unique(matrix[:, names.index("weekday")])) <= set(range(7))
    distance = some(slice(0, 500))["distance"].astype(np.float32)
    assert (matrix[:, names.index("distance")] == distance).all()
    assert model.contract == departures()
