"""The lake: events as Parquet files, one folder a UTC day of event time, appended in batches."""

from lockstep.lake.layout import days, fingerprint, partition_files
from lockstep.lake.partition import read_partition, stored_rows, write_partition

__all__ = [
    "days",
    "fingerprint",
    "partition_files",
    "read_partition",
    "stored_rows",
    "write_partition",
]
