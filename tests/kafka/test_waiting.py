"""Who waits for a broker leaves the machine to those who bring it back."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.small_model import REPOSITORY


def test_a_broker_that_is_away_is_not_hammered() -> None:
    command = [sys.executable, "-m", "tests.kafka.waiting"]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    took = json.loads(said.stdout)
    # The control. If it takes no more, the client is mended and `_require_broker` can go.
    assert took["unguarded"] > 10 * took["ours"], took
