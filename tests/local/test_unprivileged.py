"""Running as another user below a folder that only root may enter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lockstep.local.postgres import unprivileged

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")

NOBODY = 65534


def test_the_other_user_enters_closed_folders_and_writes_nothing(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "file").write_text("text")
    script = (
        f"test -r {closed}/file && cat {closed}/file && id -u"
        f" && ! touch {closed}/new && ! kill -0 {os.getpid()}"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            unprivileged.__file__,
            str(NOBODY),
            str(NOBODY),
            "/bin/sh",
            "-c",
            script,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"text{NOBODY}\n"), done.stderr
    assert not (closed / "new").exists()
