"""No part of Lockstep but an adapter knows a framework; and none is imported before its use."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lockstep.errors import ModelRefused, UsageError
from lockstep.estimators import Estimator, Native, XGBoost
from lockstep.estimators.known import KNOWN, load_native, native_of
from lockstep.progress import Silent
from lockstep.training.train import make_plan
from tests.small_model import REPOSITORY

LOCKSTEP = REPOSITORY / "lockstep"
FRAMEWORKS = {"xgboost", "sklearn", "skl2onnx", "lightgbm", "catboost", "torch", "onnxmltools"}
WORDS = FRAMEWORKS | {"scikit-learn", "binary:", "reg:", "multi:", "rank:"}


def elsewhere() -> list[Path]:
    files = [p for p in LOCKSTEP.rglob("*.py") if LOCKSTEP / "estimators" not in p.parents]
    assert len(files) > 150
    return files


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        # One adapter of several: whoever names it, knows it.
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from alias.name.lower().split(".")
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module or "").lower().split(".")
            yield from (alias.name.lower() for alias in node.names)


def words(tree: ast.AST) -> Iterator[str]:
    """All texts but those that stand alone, which are docstrings."""
    alone = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value.lower()


def framework_in(source: str) -> set[str]:
    tree = ast.parse(source)
    named = {word for name in imported(tree) for word in FRAMEWORKS if name.startswith(word)}
    return named | {word for text in words(tree) for word in WORDS if text.startswith(word)}


def test_nothing_but_an_adapter_knows_a_framework() -> None:
    known = {str(p.relative_to(LOCKSTEP)): framework_in(p.read_text()) for p in elsewhere()}
    assert {name: found for name, found in known.items() if found} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import xgboost",
        "def f():\n    import torch.nn",
        "from sklearn.linear_model import LogisticRegression",
        "from lockstep.estimators.xgboost import XGBoostModel",
        "from lockstep.estimators import XGBoost",
        "if kind == 'xgboost': pass",
        "if objective.startswith('binary:'): pass",
        "if objective in ('reg:squarederror',): pass",
        "library = importlib.import_module('lightgbm')",
        "match kind:\n    case 'XGBoost': pass",
        "SUFFIX = {'xgboost': '.ubj'}[kind]",
        "from lockstep.estimators.known import XGBoostModel",
        "from lockstep.estimators.protocol import XGBoost as Declared",
        "import lockstep.estimators.xgboost.native",
        "import lockstep.estimators.xgboost as adapter",
        "from .estimators.xgboost import native",
        "load_native('xgboost', data)",
        "library('torch', who='this', extra='train')",
        "library(module='torch')",
        "import_module('lightgbm')",
        "KIND = 'xgboost'",
        "def f(kind: str = 'xgboost'): pass",
        "OBJECTIVES = ('reg:squarederror',)",
    ],
)
def test_control_what_would_be_found(source: str) -> None:
    assert framework_in(source)


def test_a_declaration_imports_no_training_library() -> None:
    look = "\n".join(
        [
            "import sys",
            "from lockstep.estimators import Trained, XGBoost",
            "XGBoost({'objective': 'binary:logistic'}, trees=3, stop_after=2), Trained('a.ubj')",
            "print(*{name.split('.')[0] for name in sys.modules})",
        ]
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert not {*FRAMEWORKS, "spox", "ndonnx"} & set(done.stdout.split())


def test_a_library_that_is_not_installed_is_named_before_anything_is_read(
    tmp_path, monkeypatch, settings_of_nothing
) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(UsageError, match=r"XGBoost.* needs the library xgboost") as refused:
        make_plan(settings_of_nothing, "flight_delay")
    assert refused.value.next == "uv sync --extra train"
    with pytest.raises(UsageError, match="native model needs the library xgboost") as refused:
        load_native("xgboost", b"{}")
    assert refused.value.next == "uv sync --extra train"


@pytest.fixture
def settings_of_nothing(tmp_path):
    """A lake without a day: whoever reads it says so."""
    from lockstep.settings import Settings

    return Settings(home=tmp_path, lake=str(tmp_path / "lake"))


def test_every_kind_has_its_own_name_and_says_what_it_reads() -> None:
    kinds = [known.kind for known in KNOWN]
    assert len(set(kinds)) == len(kinds)
    assert all(known.reads and known.score_bound > 0 and known.packages for known in KNOWN)


def test_a_manifest_of_another_version_names_a_kind_that_nobody_knows() -> None:
    with pytest.raises(ModelRefused, match="estimator is 'catboost'; this Lockstep knows xgboost"):
        load_native("catboost", b"")


@pytest.mark.parametrize("model", [None, b"bytes", object(), XGBoost({}, 1), Estimator], ids=type)
def test_what_is_no_trained_model(model: object) -> None:
    with pytest.raises(UsageError, match="is no trained model of XGBoost's"):
        native_of(model)


def test_an_estimator_trains_what_is_compiled_and_opened_again() -> None:
    """All that compiling and verifying ask, of a model that went through its file."""
    from lockstep.estimators import Examples

    draw = np.random.default_rng(0)
    matrix = draw.normal(size=(500, 3)).astype(np.float32)
    estimator = XGBoost({"objective": "binary:logistic", "max_depth": 3}, trees=5)
    examples = Examples(matrix, (matrix[:, 0] > 0).astype(np.float32))
    trained = estimator.fit(["a", "b", "c"], examples, None, Silent())
    assert isinstance(trained, Native)
    stored = trained.file()
    again = load_native(trained.kind, stored.data)
    assert again.file() == stored
    assert again.about == trained.about
    assert (again.gives, again.feature_names) == (estimator.gives, ["a", "b", "c"])
    for ours, theirs in zip(again.answers(matrix), trained.answers(matrix), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [len(cuts) for cuts in again.cuts()] == [len(cuts) for cuts in trained.cuts()]
