"""What the windows of flight_delay are worth: test AUC with them and without.

    python -m benchmarks.quality [--quick] [--json FILE]

Both models are trained, compiled and certified by what `lockstep train` runs, on the same days of
the lake (`lockstep data flight_delay` fills it) with the same parameters; the one without
windows has the row features alone. --quick trains on January and tests on one week of February.

auc       on the test period
train_s   seconds from the lake to the certified model
"""

from __future__ import annotations

import dataclasses
import sys
import time
from datetime import date

from benchmarks.report import Report, arguments
from lockstep.cli.progress import Steps
from lockstep.exits import ended
from lockstep.settings import Settings
from lockstep.training import Period
from lockstep.training.train import Plan, make_plan, train
from lockstep.windows.semantics import NO_WINDOWS
from models.flight_delay.features import row_features

USE_CASE = "flight_delay"
QUICK = (
    Period(date(2013, 1, 2), date(2013, 2, 1)),
    Period(date(2013, 2, 2), date(2013, 2, 9)),
)


def main() -> None:
    given = arguments(__doc__ or "")
    settings = Settings.load()
    whole = make_plan(settings, USE_CASE)
    if given.quick:
        whole = with_definition(whole, train=QUICK[0], test=QUICK[1])
    without = dataclasses.replace(
        with_definition(whole, features=row_features, windows=()), windows=NO_WINDOWS
    )
    report = Report("quality")
    for subject, plan in {"without_windows": without, "with_windows": whole}.items():
        beside = "without_windows" if plan is whole else None
        started = time.perf_counter()
        with Steps(quiet=False) as steps:
            model = train(settings, plan, steps).compiled.model
        report.add("train_s", subject, [time.perf_counter() - started], "s", beside)
        report.add("auc", subject, [model.manifest.training.metrics["auc"]], "", beside)
    report.publish(given.json)


def with_definition(plan: Plan, **changes: object) -> Plan:
    """The same plan with another declaration."""
    return dataclasses.replace(plan, definition=dataclasses.replace(plan.definition, **changes))


if __name__ == "__main__":
    sys.exit(ended(main))
