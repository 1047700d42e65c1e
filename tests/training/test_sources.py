"""An edit of what a model is made of makes another fingerprint; an edit of all else does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.compiling.asking import is_own
from lockstep.training import fingerprint
from lockstep.training.sources import sources_of

REACHED = {
    "from an absolute name": "from house.case.features import f",
    "from a relative name": "from .features import f",
    "from the package": "from . import features",
    "a module of the package": "from house.case import features",
    "with another name": "import house.case.features as x",
    "by its name": "import house.case.features",
    "every name": "from .features import *",
    "every module": "from house.case import *",
    "inside a function": "def g():\n    from .features import f\n    return f",
    "inside a method": "class A:\n    def g(self):\n        import house.case.features",
    "where it is tried": "try:\n    from .features import f\nexcept ImportError:\n    f = None",
    "only for types": "if False:\n    from .features import f",
    "from above": "from ..case.features import f",
    "through another module": "from ..shared import f",
    "through a package's init": "import house.through",
    "by a call": "import importlib\nf = importlib.import_module('house.case.features')",
    "by a relative call": "import importlib as i\ni.import_module('.features', __package__)",
    "by a call with a package": "import importlib as i\ni.import_module('.features', 'house.case')",
    "by the built-in": "f = __import__('house.case.features')",
    "by a computed name": "import importlib\nimportlib.import_module('house.case.' + 'features')",
    "by what is run": "exec('from house.case.features import f')",
    "as a script": "import runpy\nf = runpy.run_path('features.py')",
}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "house"
    for name, source in {
        "__init__": "",
        "shared": "from house.case.features import f",
        "apart": "",
        "through/__init__": "from .inner import f",
        "through/inner": "from ..case.features import f",
        "case/__init__": "",
        "case/features": "from house.deeper.below import f",
        "case/data": "",
        "deeper/below": "f = 1",
    }.items():
        file = root / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    return root


def hashes() -> dict[str, str]:
    return sources_of("house.case.model").hashes()


@pytest.mark.parametrize("form", REACHED)
def test_a_module_is_seen_however_it_is_imported(house: Path, form: str):
    (house / "case/model.py").write_text(REACHED[form])
    before = hashes()
    assert {"house", "house.case", "house.case.model", "house.case.features"} <= set(before)
    for edited in ("case/features.py", "deeper/below.py", "case/__init__.py", "case/model.py"):
        file = house / edited
        file.write_text(file.read_text() + "\n# another line\n")
        after = hashes()
        assert after != before, edited
        before = after


@pytest.mark.parametrize("form", list(REACHED)[:-3])
def test_what_is_not_reached_does_not_count(house: Path, form: str):
    if form == "every module":
        pytest.skip("it reaches all of them")
    (house / "case/model.py").write_text(REACHED[form])
    before = hashes()
    (house / "apart.py").write_text("# another line")
    (house / "case/data.py").write_text("# another line")
    assert hashes() == before


def test_data_beside_a_module_count_and_what_people_read_does_not(house: Path):
    (house / "case/model.py").write_text(REACHED["from a relative name"])
    before = hashes()
    for ignored in ("README.md", "look.ipynb", "pipeline.toml", ".hidden", "__pycache__/x.pyc"):
        (house / "case" / ignored).parent.mkdir(exist_ok=True)
        (house / "case" / ignored).write_text("text")
    (house / "other").mkdir()
    (house / "other/__init__.py").write_text("")
    (house / "other/words.json").write_text("{}")
    assert hashes() == before
    for read in ("case/words.json", "case/tables/codes.csv", "deeper/words.txt"):
        (house / read).parent.mkdir(exist_ok=True)
        (house / read).write_text("text")
        after = hashes()
        assert len(after) == len(before) + 1
        before = after
    (house / "case/tables/codes.csv").write_text("other")
    assert hashes() != before


def test_libraries_that_are_named_count_with_their_versions(house: Path):
    (house / "case/model.py").write_text(
        "import os\nimport numpy.linalg\nfrom .features import f\nimport nobody\n"
        "def g():\n    from pandas import DataFrame\n    import lockstep.features\n"
    )
    found = sources_of("house.case.model")
    assert found.libraries == {"numpy", "pandas"}
    assert set(found.versions()) == {"numpy", "pandas"}


def test_nothing_is_imported_by_looking(house: Path):
    (house / "case/__init__.py").write_text("raise RuntimeError('imported')")
    (house / "case/model.py").write_text("import house.case.features\nimport great_expectations")
    look = (
        "import sys\nfrom lockstep.training.sources import sources_of\n"
        "found = sources_of('house.case.model')\n"
        "assert 'house.case.features' in found.files, found\n"
        "print(sorted({'house', 'great_expectations'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", look],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(house.parent)},
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_package_that_imports_itself_ends(house: Path):
    (house / "case/model.py").write_text(
        "from . import model\nfrom .model import *\nfrom .. import *"
    )
    assert "house.case.model" in hashes()


def test_what_is_ones_own(house: Path):
    import numpy

    import lockstep

    assert is_own(str(house / "case/model.py"))
    assert not any(is_own(str(m.__file__)) for m in (numpy, lockstep, subprocess))


def test_an_edit_of_a_relative_import_is_trained_again(tiny):
    """As `lockstep train` asks, in processes of their own."""
    model = tiny.root / "models/tiny/model.py"
    before = model.read_text()
    asked = (
        "from lockstep.settings import Settings\n"
        "from lockstep.training.train import make_plan\n"
        "print(make_plan(Settings.load(), 'tiny').fingerprint)"
    )

    def planned() -> str:
        done = subprocess.run(
            [sys.executable, "-c", asked],
            cwd=tiny.root,
            env={"LOCKSTEP_HOME": str(tiny.home), "PYTHONPATH": "."},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    few = model.with_name("few.py")
    try:
        model.write_text(before.replace("FEW = ", "from .few import more\n\nFEW = "))
        few.write_text("more = 1\n")
        first = planned()
        assert planned() == first
        few.write_text("more = 2\n")
        assert planned() != first
    finally:
        model.write_text(before)
        few.unlink()


def test_models_of_this_repository_reach_what_they_did():
    names = set(sources_of("models.flight_delay.model").files)
    own = {f"models.flight_delay.{name}" for name in ("features", "model", "windows")}
    assert names == own | {"models", "models.flight_delay"}
    before = fingerprint.code("flight_delay")
    import models.flight_delay.data  # noqa: F401

    assert fingerprint.code("flight_delay") == before
