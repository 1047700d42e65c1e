"""The few turns of phrase that `llvm_code` is written in: loops, array elements, vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

__all__ = [
    "F32",
    "I8",
    "I32",
    "I64",
    "POINTER",
    "address",
    "constant",
    "load",
    "loop",
    "shuffle",
    "splat",
    "store",
]

I8, I32, I64, F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
POINTER = ir.PointerType()


def constant(value: int, type: Any = I64) -> Any:
    """The number; in a vector type, in every lane."""
    return ir.Constant(type, [value] * type.count if isinstance(type, ir.VectorType) else value)


def loop(b: ir.IRBuilder, begin: Any, end: Any, body: Callable[[Any], None]) -> None:
    """for i in range(begin, end): body(i)"""
    before = b.block
    head, inside, after = (b.append_basic_block() for _ in range(3))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(_value(begin), before)
    b.cbranch(b.icmp_signed("<", i, _value(end)), inside, after)
    b.position_at_end(inside)
    body(i)
    i.add_incoming(b.add(i, constant(1)), b.block)
    b.branch(head)
    b.position_at_end(after)


def address(b: ir.IRBuilder, base: Any, at: Any, type: Any) -> Any:
    """Where base[at] lies."""
    return b.gep(base, [_value(at)], source_etype=type)


def load(b: ir.IRBuilder, base: Any, at: Any, type: Any) -> Any:
    """base[at]. Aligned as one element of `type` is, which is all that NumPy promises."""
    found = b.load(address(b, base, at, type), typ=type)
    found.align = _alignment(type)
    return found


def store(b: ir.IRBuilder, base: Any, at: Any, value: Any) -> None:
    """base[at] = value"""
    b.store(value, address(b, base, at, value.type)).align = _alignment(value.type)


def splat(b: ir.IRBuilder, value: Any, lanes: int) -> Any:
    """A vector with the value in every lane."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    return shuffle(b, b.insert_element(nothing, value, constant(0, I32)), [0] * lanes)


def shuffle(b: ir.IRBuilder, vector: Any, lanes: Sequence[int]) -> Any:
    """A vector of the given lanes of another one."""
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
    return b.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _value(number: Any) -> Any:
    return constant(number) if isinstance(number, int) else number


def _alignment(type: Any) -> int:
    element = getattr(type, "element", type)
    return 4 if element == F32 else int(element.width) // 8
