"""Land a use case's topics in the lake: `spark-submit jobs/land_events.py --use-case NAME`.

Exit code 0: landed, or nothing new; 1: failed, and trying again may help; 2: wrong usage;
3: failed for good.
Driver and executors need Lockstep with its extra `batch`, and no jars: the source is Python.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lockstep.exits import FOR_GOOD, ended
from lockstep.landing.report import render
from lockstep.landing.run import land
from lockstep.pipeline import Pipeline
from lockstep.settings import Settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--topic", help="land a replay into this topic instead")
    parser.add_argument("--root", type=Path, default=Path(), help="has models/ and schemas/")
    parser.add_argument("--master", help="where Spark runs, when spark-submit did not start this")
    given = parser.parse_args()

    def work() -> None:
        landing = land(
            Settings.load(),
            Pipeline.load(given.use_case, given.root / "models"),
            topic=given.topic,
            master=given.master,
            schemas=given.root / "schemas",
        )
        print(render(given.use_case, landing), flush=True)

    return ended(work, terminal=FOR_GOOD)


if __name__ == "__main__":
    sys.exit(main())
