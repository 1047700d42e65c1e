"""A declaration of a wrong type is refused where it is declared, with what to write."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from lockstep.errors import UsageError
from lockstep.training.definition import Label, Period, load_definition
from models.flight_delay.model import MODEL


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("contract", None, "contract of the Definition is None, not a text"),
        ("contract", " ", "contract of the Definition is ' ', not a text"),
        ("features", {"a": 1}, r"features of the Definition is \{'a': 1\}, not a function"),
        ("fit", "fit", "fit of the Definition is 'fit', not a function"),
        ("label", "late", "label of the Definition is 'late', not a Label"),
        ("train", (1, 2), r"train of the Definition is \(1, 2\), not a Period"),
        ("test", None, "test of the Definition is None, not a Period"),
        ("estimator", None, "estimator of the Definition is None, not an estimator"),
        ("estimator", {"eta": 1}, r"estimator of the Definition is \{'eta': 1\}, not an estimator"),
        ("weight", 2.0, "weight of the Definition is 2.0, not a Weight"),
        ("held_out", timedelta(days=9), "held_out of the Definition is .* does not stop early"),
        ("gates", 0.9, "gates of the Definition is 0.9, not a dict"),
        ("gates", {"auc": "0.9"}, "the gate 'auc' is '0.9', not a finite number"),
        ("gates", {"auc": float("inf")}, "the gate 'auc' is inf"),
        ("windows", MODEL.windows[0], "windows of the Definition is Window.* not a tuple"),
        ("windows", ("w",), "windows of the Definition is .* not a tuple of windows"),
    ],
)
def test_a_definition_of_wrong_types(name: str, value: Any, said: str):
    with pytest.raises(UsageError, match=said) as refused:
        dataclasses.replace(MODEL, **{name: value})
    assert refused.value.next


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("parameters", [("eta", 0.1)], "parameters of XGBoost is .* not a dict"),
        ("parameters", None, "parameters of XGBoost is None, not a dict"),
        ("parameters", {1: 2}, "parameters of XGBoost is .* not a dict"),
        ("parameters", {"eta": np.float32(0.1)}, "the parameter 'eta' is np.float32"),
        ("parameters", {"eta": float("nan")}, "the parameter 'eta' is nan, not"),
        ("parameters", {"max_depth": np.int64(3)}, r"the parameter 'max_depth' is np.int64\(3\)"),
        ("parameters", {"max_depth": None}, "the parameter 'max_depth' is None"),
        ("parameters", {"max_depth": lambda: 3}, "the parameter 'max_depth' is <function"),
        ("trees", "300", "trees of XGBoost is '300', not a whole number"),
        ("trees", 3.0, "trees of XGBoost is 3.0"),
        ("trees", True, "trees of XGBoost is True"),
        ("trees", 0, "trees of XGBoost is 0"),
        ("threads", None, "threads of XGBoost is None"),
        ("stop_after", 0, "stop_after of XGBoost is 0, not a whole number of at least 1"),
        ("stop_after", 2.5, "stop_after of XGBoost is 2.5"),
    ],
)
def test_an_estimator_of_wrong_types(name: str, value: Any, said: str):
    with pytest.raises(UsageError, match=said) as refused:
        dataclasses.replace(MODEL.estimator, **{name: value})
    assert refused.value.next


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("contract", 5, "contract of the Label is 5, not a text"),
        ("fields", "arr_delay", "fields of the Label is 'arr_delay', not a tuple of names"),
        ("fields", (), r"fields of the Label is \(\), not a tuple of names"),
        ("of", "late", "of of the Label is 'late', not a function"),
        ("meaning", None, "meaning of the Label is None"),
    ],
)
def test_a_label_of_wrong_types(name: str, value: Any, said: str):
    with pytest.raises(UsageError, match=said):
        dataclasses.replace(MODEL.label, **{name: value})


@pytest.mark.parametrize(
    "days",
    [
        ("2013-01-01", "2013-02-01"),
        (date(2013, 1, 1), datetime(2013, 2, 1)),
        (date(2013, 1, 1), None),
    ],
)
def test_a_period_of_no_dates(days):
    with pytest.raises(UsageError, match=r"of a Period is .*, not a date"):
        Period(*days)


def test_what_is_right_is_taken():
    Label(contract="a.json", fields=["a"], of=len, meaning="m", within=timedelta(days=1))
    odd = {"objective": "x", "monotone_constraints": [1, 0], "eta": np.float64(0.1), "a": {"b": 1}}
    estimator = dataclasses.replace(MODEL.estimator, parameters=odd)
    dataclasses.replace(MODEL, estimator=estimator, gates={"auc": 1}, windows=[*MODEL.windows])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("MODEL = Definition(params={})", r"raised NameError: .* at models/broken/model\.py:1"),
        (
            "from lockstep.training import Definition\n\nMODEL = Definition(params={})",
            r"models/broken/model\.py raised TypeError: .*'params' at models/broken/model\.py:3",
        ),
        ("MODEL = (", r"raised SyntaxError: .* at models/broken/model\.py:1"),
        ("from lockstep.training import Definitoin", r"raised ImportError: .*Definitoin"),
        ("import a_module_of_nobody", "imports 'a_module_of_nobody', which is not installed"),
        ("MODEL = None", "has no MODEL"),
    ],
)
def test_a_model_py_that_cannot_be_read(tmp_path, monkeypatch, source, said):
    import models

    folder = tmp_path / "models/broken"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "__path__", [str(tmp_path / "models")])
    try:
        with pytest.raises(UsageError, match=said):
            load_definition("broken")
    finally:
        import sys

        for name in [name for name in sys.modules if name.startswith("models.broken")]:
            del sys.modules[name]
