"""Run a program as another user that may still enter the folders of this one.

    python unprivileged.py UID GID PROGRAM ARGUMENT...

Postgres refuses to run as root. Its binaries and its data may lie below a folder that only root
can enter (a home directory, a mktemp folder), so besides changing the user this keeps one
capability: to look into folders. It runs as a script of its own, before PROGRAM, because code
between fork and exec is not safe in a program with threads.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

# linux/capability.h and linux/prctl.h
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 28, 47, 2
_NO_SETUID_FIXUP = 4
_CAPABILITY_VERSION_3 = 0x20080522


def become(uid: int, gid: int) -> None:
    """Drop to `uid` and `gid`, with the right to enter any folder where this process has it."""
    keep = _permitted() & (1 << _DAC_READ_SEARCH) or _permitted() & (1 << _DAC_OVERRIDE)
    libc = ctypes.CDLL(None, use_errno=True)
    if keep:
        # Capabilities survive setuid, and access(2), by which initdb looks for its programs,
        # takes them into account.
        libc.prctl(_PR_SET_SECUREBITS, _NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if keep:
        # Drop all the others: effective, permitted, inheritable.
        header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
        sets = struct.pack("6I", keep, keep, keep, 0, 0, 0)
        libc.capset(header, sets)
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, keep.bit_length() - 1, 0, 0)


def _permitted() -> int:
    with open("/proc/self/status") as status:  # noqa: PTH123  starts without pathlib
        for line in status:
            if line.startswith("CapPrm:"):
                return int(line.split()[1], 16)
    return 0


if __name__ == "__main__":
    become(int(sys.argv[1]), int(sys.argv[2]))
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606
