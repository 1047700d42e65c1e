"""What every benchmark prints and writes: medians beside each other, with ratios.

A row of the JSON: {"measure", "subject", "value", "unit", "beside", "ratio"}; value is the
median of the samples, ratio is value over the median of `beside` in the same measure.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Report", "arguments"]

_PACKAGES = ("onnxruntime", "xgboost", "numpy", "pyspark", "confluent-kafka", "faust-streaming")


def arguments(description: str) -> argparse.Namespace:
    """--quick and --json FILE."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer rows and repetitions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there as well")
    given = parser.parse_args()
    if given.json and not given.json.absolute().parent.is_dir():
        # Before anything is measured.
        parser.error(f"--json {given.json}: there is no folder {given.json.absolute().parent}")
    return given


@dataclass
class Report:
    """Samples of one benchmark, by measure and subject."""

    name: str
    samples: dict[tuple[str, str], tuple[list[float], str, str | None]] = field(
        default_factory=dict
    )

    def add(
        self,
        measure: str,
        subject: str,
        samples: Sequence[float],
        unit: str,
        beside: str | None = None,
    ) -> None:
        """More samples of a subject; `beside` names the subject that it is divided by."""
        known, _, _ = self.samples.setdefault((measure, subject), ([], unit, beside))
        known.extend(samples)

    def rows(self) -> list[dict[str, Any]]:
        """The JSON rows."""
        made = []
        for (measure, subject), (samples, unit, beside) in self.samples.items():
            value = statistics.median(samples)
            ratio = value / statistics.median(self.samples[measure, beside][0]) if beside else None
            made.append(
                {
                    "measure": measure,
                    "subject": subject,
                    "value": value,
                    "unit": unit,
                    "beside": beside,
                    "ratio": ratio,
                    "min": min(samples),
                    "max": max(samples),
                    "samples": len(samples),
                }
            )
        return made

    def publish(self, file: Path | None) -> None:
        """Print the table; write the JSON when a file was asked for."""
        table = Table()
        for name in ("measure", "subject", "median", "min", "max", "unit", "beside", "ratio"):
            right = name in ("median", "min", "max", "ratio")
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for row in self.rows():
            figures = (_figure(row[key]) for key in ("value", "min", "max"))
            ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else ""
            table.add_row(
                row["measure"], row["subject"], *figures, row["unit"], row["beside"] or "", ratio
            )
        # Figures are never cut off, however narrow the terminal or the log.
        Console(width=120).print(table)
        if file:
            document = {"benchmark": self.name, "machine": _machine(), "rows": self.rows()}
            file.write_text(json.dumps(document, indent=1) + "\n")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"


def _machine() -> dict[str, str]:
    packages = {name: version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "cpu": _cpu(), **packages}


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()
