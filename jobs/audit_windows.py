"""Audit one day of a stream in Spark: `spark-submit jobs/audit_windows.py --request JSON`.

Exit code 0: everything is explained; 1: failed, and trying again may help; 2: wrong usage;
3: failed for good, or something is unexplained. The result of an audit is stored either way.
"""

from __future__ import annotations

import argparse
import sys

from lockstep.audit.report import render
from lockstep.audit.request import decode
from lockstep.audit.run import audit_day, require_explained
from lockstep.exits import FOR_GOOD, ended
from lockstep.settings import Settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--request", required=True, help="one line of JSON")
    parser.add_argument("--master", help="where Spark runs, when spark-submit did not start this")
    given = parser.parse_args()

    def work() -> None:
        report = audit_day(Settings.load(), decode(given.request), master=given.master)
        print(render(report), flush=True)
        require_explained(report)

    return ended(work, terminal=FOR_GOOD)


if __name__ == "__main__":
    sys.exit(main())
