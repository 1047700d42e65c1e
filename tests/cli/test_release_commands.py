"""lockstep migrate and lockstep approve, typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from lockstep.compiled_model.native_file import NativeFile
from lockstep.registry.mlflow import CHAMPION, aliases, set_alias
from lockstep.registry.register import register
from lockstep.settings import Settings
from lockstep.warehouse.migrate import MIGRATIONS
from tests.small_model import small_compiled
from tests.warehouse.plain_login import make_login

REPOSITORY = Path(__file__).parents[2]
USE_CASE = f"typed_{uuid.uuid4().hex[:8]}"
NEWEST = max(path.name[:4] for path in MIGRATIONS.glob("versions/*.py"))
Type = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one use case of its own."""
    root = tmp_path_factory.mktemp("repository")
    (root / "schemas").symlink_to(REPOSITORY / "schemas")
    (root / "models" / USE_CASE).mkdir(parents=True)
    original = (REPOSITORY / "models/flight_delay/pipeline.toml").read_text()
    (root / "models" / USE_CASE / "pipeline.toml").write_text(
        original.replace("flight_delay", USE_CASE)
    )
    return root


@pytest.fixture(scope="module")
def lockstep(repository: Path, stack_settings: Settings) -> Type:
    """Types a command; `cwd` and `environment` may be given."""

    def type_(
        *words: str, cwd: Path = repository, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        urls = {
            f"LOCKSTEP_{role.upper()}_URL": stack_settings.url(role)
            for role in ("owner", "scorer", "releaser", "analyst")
        }
        return subprocess.run(
            [sys.executable, "-m", "lockstep.cli", *words],
            cwd=cwd,
            env={
                **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                **urls,
                "LOCKSTEP_HOME": str(stack_settings.home),
                "LOCKSTEP_MLFLOW": stack_settings.mlflow,
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return type_


@pytest.fixture(scope="module")
def version(lockstep: Type, stack_settings: Settings) -> int:
    """A registered version of a migrated use case."""
    done = lockstep("migrate")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{USE_CASE}: created -> {NEWEST}\n"
    made = small_compiled(10, USE_CASE)
    return register(
        stack_settings,
        made.model,
        made.certificate,
        native=NativeFile(".ubj", b"x"),
        fingerprint="f",
    ).version


def test_migrate_again(lockstep, version):
    done = lockstep("migrate", USE_CASE, "--json")
    assert json.loads(done.stdout) == {
        "migrated": [
            {
                "use_case": USE_CASE,
                "before": NEWEST,
                "after": NEWEST,
                "changed": False,
                "notes": [],
            }
        ],
        "left_out": {},
    }
    assert lockstep("migrate").stdout == f"{USE_CASE}: up to date ({NEWEST})\n"


def test_migrate_notes_what_is_left_to_an_administrator(
    lockstep, version, postgres, stack_settings
):
    settings = make_login(stack_settings, postgres.url("lockstep_admin"))
    done = lockstep("migrate", USE_CASE, LOCKSTEP_ANALYST_URL=settings.url("analyst"))
    assert done.returncode == 0, done.stderr
    assert "note: lockstep_owner may not alter ada_" in done.stdout
    assert "SET default_transaction_isolation = 'repeatable read'" in done.stdout


def test_migrate_elsewhere(lockstep, version, tmp_path):
    done = lockstep("migrate", cwd=tmp_path)
    assert done.returncode == 2
    assert "repository's root" in done.stderr
    done = lockstep("migrate", "no_such_use_case")
    assert done.returncode == 2
    assert f"there is no use case 'no_such_use_case' (known: {USE_CASE}" in done.stderr


def test_migrate_without_a_warehouse(lockstep):
    away = "postgresql://lockstep_owner:s3cr3t@127.0.0.1:1/lockstep"
    done = lockstep("migrate", LOCKSTEP_OWNER_URL=away)
    assert done.returncode == 1
    assert "the warehouse at 127.0.0.1:1 does not answer" in done.stderr
    assert "next: lockstep status" in done.stderr
    assert "s3cr3t" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_approve(lockstep, version, stack_settings):
    words = ("approve", USE_CASE, str(version), "--reason", "it is good", "--name", "Ada")
    done = lockstep(*words)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith(f"serves now: version {version} of {USE_CASE}, digest ")
    assert first.endswith("by approval 1 of lockstep_releaser (name given: Ada): it is good")
    assert "0 of" in second
    assert "workers follow within seconds" in third

    again = lockstep(*words)
    assert again.returncode == 0
    assert again.stdout.startswith("nothing to approve, it serves already: version")

    set_alias(stack_settings, USE_CASE, CHAMPION, another(stack_settings))
    moved = lockstep(*words, "--json")
    assert "alias champion had been moved to version" in moved.stderr
    document = json.loads(moved.stdout)
    assert (document["sequence"], document["changed"]) == (1, False)
    assert document["champion"]["moved_by_hand"]
    assert aliases(stack_settings, USE_CASE)[CHAMPION] == version


def another(settings: Settings) -> int:
    made = small_compiled(5, USE_CASE)
    return register(
        settings, made.model, made.certificate, native=NativeFile(".ubj", b"x"), fingerprint="f"
    ).version


def test_approve_what_does_not_exist(lockstep, version):
    done = lockstep("approve", USE_CASE, "99", "--reason", "why", "--json")
    assert done.returncode == 1
    error = json.loads(done.stderr)
    assert error["kind"] == "ModelRefused"
    assert "no version 99" in error["error"]
    assert error["next"].startswith(f"lockstep models {USE_CASE}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("1",), "Missing option '--reason'"),
        (("one", "--reason", "why"), "'one' is not a valid integer"),
        (("0", "--reason", "why"), "0 is not in the range"),
        (("1", "--reason", "   "), "an approval needs a reason"),
    ],
)
def test_approve_typed_wrongly(lockstep, version, words, said):
    done = lockstep("approve", USE_CASE, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
