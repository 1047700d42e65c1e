"""The lake: events as Parquet files, one folder a UTC day of event time, appended in batches."""

from lockstep.lake.footers import LANDED
from lockstep.lake.layout import days, fingerprint, partition_files
from lockstep.lake.partition import read_partition, stored_rows, write_partition
from lockstep.lake.reach import input_fingerprint, require_columns, state_days, state_files

__all__ = [
    "LANDED",
    "days",
    "fingerprint",
    "input_fingerprint",
    "partition_files",
    "read_partition",
    "require_columns",
    "state_days",
    "state_files",
    "stored_rows",
    "write_partition",
]
