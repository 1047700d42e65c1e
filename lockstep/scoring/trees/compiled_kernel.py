"""The kernel that is compiled for the processor it runs on. Needs llvmlite.

1. Refuse where this process may not make memory executable: LLVM would not notice, and the
   first call would end the process.
2. Compile `llvm_code` for the depth of the trees, once a process; a lock keeps threads from
   doing it twice. A forked process has its copy. Compiled code cannot be pickled, so whoever
   sends work to another process sends the model, which is opened there.
3. Put the model's tables where the code looks for them.
4. For each call take memory for one block, and run. Python's own lock is free meanwhile.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from functools import cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np

from lockstep.scoring.trees.kernel import KernelUnavailable, require_columns
from lockstep.scoring.trees.layout import Layout
from lockstep.scoring.trees.llvm_code import BLOCK, FUNCTION, PROGRAM, SLOTS, WORDS, write_code
from lockstep.scoring.trees.tables import Array

__all__ = ["CompiledKernel", "Processor", "this_processor"]


class _Compiling:
    """One thread at a time. A fork copies the lock even while some other thread holds it."""

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.Lock()


os.register_at_fork(after_in_child=_Compiling.renew)


class Processor(NamedTuple):
    """What to compile for, in LLVM's words."""

    name: str
    features: str

    @property
    def permutes(self) -> bool:
        """Whether leaves can be looked up in registers."""
        return "+avx512f" in self._has()

    @property
    def vectors(self) -> str:
        """The widest vectors that it computes with, for people."""
        return next((v for v in ("avx512f", "avx2", "sse2", "neon") if f"+{v}" in self._has()), "?")

    def _has(self) -> list[str]:
        return self.features.split(",")


class CompiledKernel:
    """See the module. Raises KernelUnavailable where compiled code may not run."""

    name = "compiled"

    def __init__(self, layout: Layout, processor: Processor | None = None) -> None:
        _require_executable_memory()
        try:
            with _Compiling.lock:
                self._code = _compile(layout.depth, processor or this_processor())
        except RuntimeError as error:  # the one that LLVM's errors come as
            raise KernelUnavailable(f"LLVM does not compile it here: {error}") from None
        self._layout = layout
        self._tables = _tables(layout)
        # A block of memory: a copy of one column, then bits, then totals.
        bits = 4 * BLOCK
        totals = bits + 8 * WORDS * len(layout.threshold)
        self._memory = totals + 4 * BLOCK * layout.targets
        known = {
            "features": len(layout.reads),
            "trees": len(layout.leaf),
            "targets": layout.targets,
            **{"block_copy": 0, "block_bits": bits, "block_totals": totals},
            **{name: table.ctypes.data for name, table in self._tables.items()},
        }
        self._program = np.array([known[name] for name in PROGRAM], np.int64)

    def __call__(self, columns: Array) -> Array:
        require_columns(columns, self._layout)
        rows = columns.shape[1]
        out = np.empty((rows, self._layout.targets), np.float32)
        memory = np.empty(self._memory, np.uint8)
        program, given = self._program.ctypes.data, columns.ctypes.data
        self._code.run(program, given, rows, memory.ctypes.data, out.ctypes.data)
        if self._layout.divisor != 1:
            out /= np.float32(self._layout.divisor)
            out += np.float32(0)  # ONNX Runtime adds a base of 0 last: -0 becomes 0
        return out


class _Code(NamedTuple):
    run: Any
    engine: Any
    """Owns the memory that the code lies in."""


@cache
def this_processor() -> Processor:
    """The one that this process runs on."""
    return Processor(llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())


@cache
def _compile(depth: int, processor: Processor) -> _Code:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text = write_code(depth, permute=processor.permutes)
    module = llvm.parse_assembly(text, llvm.create_context())
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=processor.name, features=processor.features, opt=2, jit=True
    )
    # As it is written: LLVM's optimisations change no figure, and take longer than the rest.
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    signature = ctypes.CFUNCTYPE(None, pointer, pointer, number, pointer, pointer)
    return _Code(signature(engine.get_function_address(FUNCTION)), engine)


def _tables(layout: Layout) -> dict[str, Array]:
    """The tables by their names in the program, of the types that the code reads."""
    begin = np.unique(layout.feature, return_index=True)[1]
    nan_left = np.add.reduceat(~layout.nan_right, begin, dtype=np.int64)
    trees, leaves = layout.leaf.shape
    leaf = np.zeros((trees, max(leaves, SLOTS)), np.float32)
    leaf[:, :leaves] = layout.leaf
    return {
        "begin": np.ascontiguousarray(begin, np.int64),
        "nan_right": np.ascontiguousarray(begin + nan_left, np.int64),
        "end": np.append(begin[1:], len(layout.feature)).astype(np.int64),
        "threshold": np.ascontiguousarray(layout.threshold, np.float32),
        "asked": np.ascontiguousarray(layout.asked, np.int32),
        "leaf": leaf,
        "target": np.ascontiguousarray(layout.target, np.int64),
    }


def _require_executable_memory() -> None:
    """Do what LLVM is going to do: write to memory first, then make it executable."""
    libc = ctypes.CDLL(None)
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    start = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    size, executable = ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ | mmap.PROT_EXEC
    if libc.mprotect(start, size, executable):
        raise KernelUnavailable("this process may not make memory executable")
