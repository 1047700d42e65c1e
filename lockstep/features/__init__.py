"""What row features are written with: array-API code and three exact helpers.

A row feature runs eagerly on NumPy arrays and is traced with ndonnx into the compiled model.
Both give the same bits as long as it uses exact operations: arithmetic, comparison, look-up. The
certificate compares them, and names a feature that differs (exp, log and powers do).
Importing this package imports neither ndonnx nor any training library.
"""

from lockstep.features.exact import Array, Event, floor_divide, lookup, namespace
from lockstep.features.localtime import Zone, local_time

__all__ = [
    "Array",
    "Event",
    "Zone",
    "floor_divide",
    "local_time",
    "lookup",
    "namespace",
]
