"""A small repository with one use case, `tiny`: real flights, few days, few trees."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent

_MODEL = """
from dataclasses import replace
from datetime import date

from lockstep.training import Period
from models.flight_delay.features import row_features
from models.flight_delay.model import MODEL as YEAR
from models.flight_delay.windows import WINDOWS

# Few of them: what is tested does not depend on how many there are.
FEW = tuple(w for w in WINDOWS if w.name in ("origin_departures_1h", "tail_last_delay_12h"))

def features(event, fitted):
    return row_features(event, fitted) | {w.name: event[w.name] for w in FEW}

MODEL = replace(
    YEAR,
    features=features,
    windows=FEW,
    train=Period(date(2013, 1, 2), date(2013, 1, 11)),
    test=Period(date(2013, 1, 12), date(2013, 1, 17)),
    estimator=replace(YEAR.estimator, trees=12),
    gates={"auc": 0.6},
)
"""
_DATA = """
import pyarrow.compute as pc

from models.flight_delay.data import BATCH, CONTRACTS, origin
from models.flight_delay.data import tables as year

def tables(*contracts):
    ids = None
    for contract, table in zip(contracts, year(*contracts), strict=True):
        ids = ids if ids is not None else table[contract.id].slice(0, 15_000).combine_chunks()
        yield table.filter(pc.is_in(table[contract.id], ids))
"""


@dataclass(frozen=True)
class TinyRepository:
    """Its root, and the home of its lake."""

    root: Path
    home: Path

    @property
    def lake(self) -> str:
        return str(self.home / "lake")

    def type(
        self, *words: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Type a command in it, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "lockstep.cli", *words],
            cwd=self.root,
            env={
                **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                "LOCKSTEP_HOME": str(self.home),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stderr
        return done


def make_tiny(root: Path) -> TinyRepository:
    """Lay it out and load its lake."""
    home = root / "home"
    use_case = root / "models/tiny"
    use_case.mkdir(parents=True)
    (root / "schemas").mkdir()
    for name in ("models/__init__.py", "models/flight_delay", "schemas/flight_delay"):
        (root / name).symlink_to(REPOSITORY / name)
    (root / "schemas/tiny").symlink_to(REPOSITORY / "schemas/flight_delay")
    pipeline = (REPOSITORY / "models/flight_delay/pipeline.toml").read_text()
    (use_case / "pipeline.toml").write_text(pipeline.replace("flight_delay", "tiny"))
    (use_case / "model.py").write_text(_MODEL)
    (use_case / "data.py").write_text(_DATA)
    made = TinyRepository(root, home)
    made.type("data", "tiny")
    return made
