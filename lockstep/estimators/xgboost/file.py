"""A booster in a file, opened so that a damaged one is refused.

XGBoost's reader believes what lengths and positions a file says, and some damaged ones end the
process, or keep it busy for ever. So a process that may end reads it first, and what it has
understood is what is opened here. It loads XGBoost's library and nothing else, which takes a
twentieth of a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from lockstep.errors import ModelRefused
from lockstep.estimators.xgboost.boosting import import_xgboost, reason

__all__ = ["open_booster"]

_READ = """
import resource, sys
from ctypes import CDLL, byref, c_char_p, c_uint64, c_void_p, string_at
seconds, memory = map(int, sys.argv[2:])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
data = sys.stdin.buffer.read()
library, booster = CDLL(sys.argv[1]), c_void_p()
library.XGBGetLastError.restype = c_char_p
length, found = c_uint64(), c_void_p()
def call(name, *arguments):
    if getattr(library, name)(*arguments):
        sys.stderr.buffer.write(library.XGBGetLastError())
        sys.exit(1)
call("XGBoosterCreate", None, c_uint64(0), byref(booster))
call("XGBoosterLoadModelFromBuffer", booster, data, c_uint64(len(data)))
call("XGBoosterSaveModelToBuffer", booster, b'{"format": "ubj"}', byref(length), byref(found))
sys.stdout.buffer.write(string_at(found, length.value))
"""
_SECONDS, _MEMORY = 10, 4 * 2**30
_BYTES_A_SECOND, _MEMORY_A_BYTE = 10**6, 40


def open_booster(data: bytes) -> Any:
    """An xgboost.Booster on one thread. Raises ModelRefused for what XGBoost cannot read."""
    xgboost = import_xgboost("the native model")
    understood = _read(data, str(xgboost.libpath.find_lib_path()[0]))
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(understood))
        json.loads(bytes(booster.save_raw("json")))
    except Exception as error:  # also names that are no UTF-8
        raise ModelRefused(f"XGBoost cannot read the model: {reason(error)}") from None
    names, features = booster.feature_names, booster.num_features()
    if names is not None and len(names) != features:
        raise ModelRefused(
            f"the model is damaged: it has {features} features and names {len(names)} of them"
        )
    return booster


def _read(data: bytes, library: str) -> bytes:
    limits = (_SECONDS + len(data) // _BYTES_A_SECOND, _MEMORY + len(data) * _MEMORY_A_BYTE)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _READ, library, *map(str, limits)],
        input=data,
        capture_output=True,
    )
    if done.returncode == 1:
        said = reason(done.stderr.decode(errors="replace"))
        raise ModelRefused(f"XGBoost cannot read the model: {said}")
    if done.returncode:
        raise ModelRefused(
            "XGBoost cannot read the model: it is damaged, and ends a process that reads it"
            f" (exit code {done.returncode})"
        )
    return done.stdout
