"""What a test session inherits from whoever started it, put right once, before anything starts.

Signals, umask and environment go on to every process that a test starts, and to what lockstep
starts in the session itself. So the tests mean the same in a terminal, in the background, under
nohup and in any CI runner. Python's own variables reach the session before this does: `make`
starts it without them (python -E).
"""

from __future__ import annotations

import os
import sys

import pytest

from lockstep.local.process import let_children_hear

__all__ = ["settle"]

_FOREIGN = (
    *("LOCKSTEP_", "AIRFLOW_", "MLFLOW_", "KAFKA_", "SPARK_", "PYSPARK_", "HADOOP_", "GX_", "PG"),
    *("PYTHON", "JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"),
    *("LC_", "LANG", "TZ", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR"),
)
"""What reconfigures a program that a test starts."""


def settle() -> None:
    """Give this process, and with it its children, the surroundings that tests count on."""
    if sys.flags.optimize:
        pytest.exit("PYTHONOPTIMIZE takes the asserts out of the tests: unset it", returncode=4)
    let_children_hear()
    os.umask(0o022)
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    os.environ["LC_ALL"] = "C.UTF-8"
    # Tests talk to this machine's loopback; a proxy is for what a build tool fetches.
    for name in ("NO_PROXY", "no_proxy"):
        known = os.environ.get(name)
        os.environ[name] = ",".join(filter(None, [known, "127.0.0.1,localhost"]))
