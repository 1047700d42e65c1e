"""Files that are replaced whole."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

from lockstep.errors import ServiceFailed

__all__ = ["write_atomically"]


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` whole: a reader or a crash sees the old file or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno == errno.ENOSPC:
            raise ServiceFailed(
                f"the disk is full: {path} could not be written",
                left="the file as it was before",
                next="free some space, then lockstep up",
            ) from None
        raise
