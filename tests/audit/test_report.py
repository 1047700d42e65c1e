"""An audit in words, where it is read."""

from __future__ import annotations

from datetime import date

from lockstep.audit.report import Report, render
from lockstep.warehouse.audits import AuditedDay, AuditedWindow
from models.flight_delay.windows import WINDOWS

DIGEST = "a" * 64


def test_the_table_of_windows_fits_a_terminal() -> None:
    windows = [
        AuditedWindow(DIGEST, window.name, 29_871, 29_871, 0, 0, 1_234, 0.0001220703)
        for window in WINDOWS
    ]
    day = AuditedDay(
        run_id="run",
        day=date(2013, 10, 4),
        topic="flight_delay.events.demo-1",
        rows=29_871,
        equal=29_871,
        incomplete=0,
        unexplained=0,
        missing=0,
        conflicting=0,
        late_events=10,
        late_changed=1_234,
        windows=windows,
    )
    text = render(Report("flight_delay", 1, day, {"flight_arrivals": 10}, {DIGEST: 1}, []))
    table = text[text.index("version 1") :].splitlines()
    assert len(table) == 2 + len(WINDOWS)
    assert max(map(len, table)) <= 80
