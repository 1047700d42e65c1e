"""Score one planned day in Spark: `spark-submit jobs/score_partition.py --plan JSON`.

The plan is what `check_events` found out. Exit code 0: staged, or nothing to do; 1: failed, and
trying again may help; 2: wrong usage; 3: failed for good.
"""

from __future__ import annotations

import argparse
import sys

from lockstep.batch.plan import Plan, decode
from lockstep.batch.score import score, told
from lockstep.exits import FOR_GOOD, ended
from lockstep.settings import Settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="one line of JSON")
    parser.add_argument("--master", help="where Spark runs, when spark-submit did not start this")
    given = parser.parse_args()

    def work() -> None:
        plan = decode(given.plan, Plan)
        attempt = score(Settings.load(), plan, master=given.master)
        print(told(plan, attempt), flush=True)

    return ended(work, terminal=FOR_GOOD)


if __name__ == "__main__":
    sys.exit(main())
