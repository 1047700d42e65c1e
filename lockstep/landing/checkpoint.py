"""How far a topic is landed, as Spark's checkpoint says: read so that Spark need not start.

The checkpoint is Spark's, and only Spark writes it: offsets/N is what epoch N is to land, in
its last line; commits/N says that it is done. A checkpoint that looks otherwise is no error
here: then Spark reads it.
"""

from __future__ import annotations

import json

from pyarrow import fs

from lockstep.lake.layout import open_lake
from lockstep.landing.log import Log, Position

__all__ = ["checkpoint_of", "nothing_new"]


def checkpoint_of(lake: str, use_case: str, topic: str) -> str:
    """Where Spark notes how far a topic is landed. A name with _ is not data."""
    return f"{lake.rstrip('/')}/_checkpoints/{use_case}/{topic}"


def nothing_new(log: Log, checkpoint: str) -> bool:
    """Whether all of the log is landed. Raises OffsetsLost when the log does not continue."""
    system, root = open_lake(checkpoint)
    planned, done = (_epochs(system, f"{root}/{kind}") for kind in ("offsets", "commits"))
    if not planned:
        return log.first == log.next
    if max(planned) not in done:
        return False
    position = _position(system, f"{root}/offsets/{max(planned)}")
    return position is not None and log.offsets(position, checkpoint) == log.next


def _epochs(system: fs.FileSystem, folder: str) -> set[int]:
    infos = system.get_file_info(fs.FileSelector(folder, allow_not_found=True))
    return {int(info.base_name) for info in infos if info.base_name.isdigit()}


def _position(system: fs.FileSystem, path: str) -> Position | None:
    try:
        with system.open_input_stream(path) as file:
            position = json.loads(file.read().decode().splitlines()[-1])
        known = isinstance(position["topic_id"], str) and isinstance(position["next"], dict)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return position if known else None
