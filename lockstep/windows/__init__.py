"""Windows over recorded events: what they are, what their values are, and who computes them.

declaration   what a user writes, bound to contracts and checked
semantics     what a value is; the bound windows, as the manifest has them
reference     pure Python over all records: slow and obvious, what the others are held to
spark         DataFrames: the nightly run and the audit
online        NumPy, in the worker, and for training sets
"""

from lockstep.windows.declaration import Source, Window

__all__ = ["Source", "Window"]
