"""The lake: events as Parquet files, one folder a UTC day of event time, appended in batches."""

from lockstep.lake.counting import Conflict, Counted, counted, first_copies, told_refused
from lockstep.lake.footers import LANDED
from lockstep.lake.layout import days, fingerprint, partition_files
from lockstep.lake.new_events import new_events
from lockstep.lake.partition import read_partition, read_rows, require_day, write_partition
from lockstep.lake.reach import input_fingerprint, require_columns, state_days, state_files

__all__ = [
    "LANDED",
    "Conflict",
    "Counted",
    "counted",
    "days",
    "fingerprint",
    "first_copies",
    "input_fingerprint",
    "new_events",
    "partition_files",
    "read_partition",
    "read_rows",
    "require_columns",
    "require_day",
    "state_days",
    "state_files",
    "told_refused",
    "write_partition",
]
