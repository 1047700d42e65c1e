"""Where a partition's files are: <lake>/<source>/date=YYYY-MM-DD/batch=<name>/*.parquet.

A producer appends batches and overwrites one whole when it tries again; nobody changes a file
in place. Names that begin with `.` or `_` are not data (Spark does not read them either).
"""

from __future__ import annotations

import hashlib
from datetime import date

from pyarrow import fs

from lockstep.errors import LakeError, UsageError
from lockstep.names import lake_name_fault

__all__ = ["batch_path", "days", "fingerprint", "open_lake", "partition_files"]

_CHUNK = 1 << 20


def open_lake(lake: str) -> tuple[fs.FileSystem, str]:
    """The file system of a lake and its root in it. `lake` is a folder or a URI."""
    if "://" not in lake:
        return fs.LocalFileSystem(), lake.rstrip("/")
    try:
        system, root = fs.FileSystem.from_uri(lake)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the lake {lake!r} cannot be opened: {error}",
            next="correct LOCKSTEP_LAKE: a folder, or a URI that pyarrow and Spark both read",
        ) from None
    return system, root.rstrip("/")


def batch_path(source: str, day: date, batch: str) -> str:
    """The folder of one batch below the lake's root. Raises UsageError for an unusable name."""
    for what, name in (("source", source), ("batch", batch)):
        if said := lake_name_fault(name):
            raise UsageError(f"{what} {name!r} {said}", next="choose another name")
    return f"{source}/date={day.isoformat()}/batch={batch}"


def partition_files(lake: str, source: str, day: date) -> list[str]:
    """The Parquet files of one day, below the lake's root, by batch and then by name.

    Raises LakeError when the day has no folder, or no file in it.
    """
    system, root = open_lake(lake)
    folder = f"{root}/{source}/date={day.isoformat()}"
    if system.get_file_info(folder).type != fs.FileType.Directory:
        raise LakeError(
            f"the lake has no partition {source}/date={day}"
            f" (looked in {lake}; {_extent(lake, source)})",
            left="nothing: no prediction was written",
            next=f"load the events of {day} into the lake, or name a day that it has",
        )
    found = []
    for info in system.get_file_info(fs.FileSelector(folder, recursive=True)):
        batch, _, name = info.path[len(folder) + 1 :].partition("/")
        if info.type != fs.FileType.File or batch[0] in "._" or name.startswith((".", "_")):
            continue
        if not (
            batch.startswith("batch=")
            and not lake_name_fault(batch.removeprefix("batch="))
            and not lake_name_fault(name)
            and name.endswith(".parquet")
        ):
            raise LakeError(
                f"{info.path} is no file of a partition: expected batch=NAME/NAME.parquet"
                " of letters, digits, dots, dashes and underscores",
                left="nothing: no prediction was written",
                next="move the file out of the lake, or to a batch of its own",
            )
        found.append((batch, name))
    if not found:
        raise LakeError(
            f"the partition {source}/date={day} has no Parquet file (looked in {folder})",
            left="nothing: no prediction was written",
            next=f"load the events of {day} into the lake",
        )
    return [f"{source}/date={day.isoformat()}/{batch}/{name}" for batch, name in sorted(found)]


def days(lake: str, source: str) -> list[date]:
    """The days that `source` has a folder for, ascending; empty when it has none.

    Raises LakeError for a folder that is meant as a day and is none: nobody would read it.
    """
    known, odd = _folders(lake, source)
    if odd:
        raise LakeError(
            f"{source}/{odd[0]} is no day, and its events would be left out (in {lake})",
            left="nothing: no prediction was written",
            next="name the folder date=YYYY-MM-DD, the UTC day of its events, or move it away",
        )
    return known


def _folders(lake: str, source: str) -> tuple[list[date], list[str]]:
    """The days of `source`, and the names of folders that are meant as one and are none."""
    system, root = open_lake(lake)
    selector = fs.FileSelector(f"{root}/{source}", allow_not_found=True)
    known, odd = [], []
    for info in system.get_file_info(selector):
        name = info.base_name
        if info.type == fs.FileType.Directory and name.lower().startswith("date="):
            day = _day(name)
            if day is None:
                odd.append(name)
            else:
                known.append(day)
    return sorted(known), sorted(odd)


def fingerprint(lake: str, source: str, day: date) -> str:
    """sha256 (hex) over the names and the bytes of a partition's files.

    Raises LakeError when the partition is missing, or changes while it is read.
    """
    system, root = open_lake(lake)
    whole = hashlib.sha256()
    for path in partition_files(lake, source, day):
        digest = hashlib.sha256()
        try:
            with system.open_input_stream(f"{root}/{path}") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
        except FileNotFoundError:
            raise LakeError(
                f"{path} vanished while it was read: a batch is being replaced",
                left="nothing: no prediction was written",
                next="run again once the batch has been loaded",
            ) from None
        whole.update(f"{path}\0{digest.hexdigest()}\n".encode())
    return whole.hexdigest()


def _day(folder: str) -> date | None:
    try:
        day = date.fromisoformat(folder.removeprefix("date="))
    except ValueError:
        return None
    # Python reads 20130105 as well.
    return day if folder == f"date={day.isoformat()}" else None


def _extent(lake: str, source: str) -> str:
    known, odd = _folders(lake, source)
    extent = f"{len(known)} days, {known[0]} to {known[-1]}" if known else "no days"
    return f"{source} has {extent}" + (f"; also {odd[0]}, which is no day" if odd else "")
