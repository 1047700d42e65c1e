"""Kafka's jars, resolved once for each user with the resolver that is inside PySpark."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
from pathlib import Path

from lockstep.errors import ServiceFailed, Unreachable
from lockstep.local.home import Home, Progress
from lockstep.local.service import base_environment, run, tail
from lockstep.spark.java import Java

__all__ = ["KAFKA_VERSION", "class_path"]

KAFKA_VERSION = "4.1.1"
_PACKAGES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Kafka logs through slf4j 1.7; its own distribution adds this binding too.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
)


def class_path(home: Home, java: Java, progress: Progress) -> str:
    """The broker's class path; downloads what is missing.

    Raises Unreachable when the download fails: trying again continues where it stopped.
    """
    jars = _cache(home) / f"kafka-{KAFKA_VERSION}"
    if not jars.is_dir():
        _download(home, java, jars, progress)
    spark = _pyspark() / "jars"
    # The resolver leaves out what Spark has itself.
    scala = sorted(spark.glob("scala-library-2.13.*.jar"))
    return os.pathsep.join([f"{jars}/*", *map(str, scala)])


def _download(home: Home, java: Java, jars: Path, progress: Progress) -> None:
    """Resolve beside the final place, then rename: a crash leaves no half a class path."""
    work = jars.with_name(f"{jars.name}.unfinished")
    work.mkdir(parents=True, exist_ok=True)
    with jars.with_name(f"{jars.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two stacks of one user share the folder
        if jars.is_dir():
            return
        progress("kafka", f"downloading Kafka {KAFKA_VERSION} (40 MB, once for each user)")
        command = [
            *(str(_pyspark() / "bin" / "spark-submit"), "--packages", ",".join(_PACKAGES)),
            *("--conf", f"spark.jars.ivy={work}"),
            # Any program will do, and this one shows that the jars work.
            *("--class", "kafka.tools.StorageTool", "spark-internal", "random-uuid"),
        ]
        environment = {**base_environment(), "JAVA_HOME": str(java.home)}
        code = run(home, "kafka-download", command, environment, cwd=home.root)
        if code != 0 or not any((work / "jars").glob("*_kafka-server-*.jar")):
            log = home.logs / "kafka-download.log"
            raise Unreachable(
                f"Kafka {KAFKA_VERSION} could not be downloaded; the end of the resolver's log:\n"
                f"{tail(log)}",
                left=f"what was downloaded, in {work}; the whole log in {log}",
                next="lockstep up (continues); behind a mirror of Maven Central, set "
                "DEFAULT_ARTIFACT_REPOSITORY to its address first",
            )
        (work / "jars").rename(jars)
        shutil.rmtree(work, ignore_errors=True)


def _cache(home: Home) -> Path:
    """A folder for downloads: the user's cache, or the home where there is none to write."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockstep"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    folder = home.root / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _pyspark() -> Path:
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise ServiceFailed(
            "the local Kafka needs the resolver of PySpark, which is not installed",
            next="uv sync --extra local",
        )
    return Path(spec.submodule_search_locations[0])
