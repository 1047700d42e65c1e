"""The compiled kernel's code: one function, written in LLVM's language.

It is made for a depth and a block of rows, not for a model: all tables come as arguments. A
block is `WORDS` words of 64 rows each. For every block:

1. Take the columns one by one; the last rows are copied, for vectors would read beyond them.
2. Ask each comparison of all rows: a word has a bit for each row, 1 for "to the right".
3. For each tree, from its lowest level up: every node chooses between what its two sides say
   about the levels below, left ^ ((left ^ right) & chosen). At the root that is, for each level,
   the turn that each row takes there: the bits of its leaf's number.
4. Spread those bits to one byte a row, and look the leaf up.
5. Add it in float32 to the row's total: trees come in their order, so that the sum is the one
   that ONNX Runtime gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from lockstep.scoring.trees.llvm_shorthand import (
    F32,
    I8,
    I32,
    I64,
    POINTER,
    address,
    constant,
    load,
    loop,
    shuffle,
    splat,
    store,
)

__all__ = ["BLOCK", "FUNCTION", "PROGRAM", "SLOTS", "WORDS", "write_code"]

FUNCTION = "evaluate"
PROGRAM = (
    *("features", "begin", "nan_right", "end", "threshold"),
    *("trees", "asked", "leaf", "target", "targets"),
    *("block_copy", "block_bits", "block_totals"),
)
"""int64 each: what the function reads of a model. Counts, addresses of tables, and where in the
memory of a call each part of it begins."""
WORDS = 2
"""More of them are hardly faster in large batches, and slower in small ones."""
BLOCK = 64 * WORDS
"""Rows."""
SLOTS = 32
"""Leaves that one permutation of two registers chooses from: the least that a tree's table has."""
_LANES = 16
_WORDS = ir.VectorType(I64, WORDS)
_BYTES = ir.VectorType(I8, 64)
_FLOATS = ir.VectorType(F32, _LANES)
_NUMBERS = ir.VectorType(I32, _LANES)


def write_code(depth: int, *, permute: bool) -> str:
    """The module's text. `permute` looks leaves up in registers, which takes AVX-512."""
    return str(_Writer(depth, permute).module)


class _Writer:
    """Writes the function; a method a step."""

    def __init__(self, depth: int, permute: bool) -> None:
        self.depth = depth
        self.nodes, self.slots = (1 << depth) - 1, max(1 << depth, SLOTS)
        self.module = ir.Module(FUNCTION)
        arguments = [POINTER, POINTER, I64, POINTER, POINTER]
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), arguments), FUNCTION)
        program, self.columns, self.rows, self.memory, self.out = function.args
        self.permutation = None
        if permute:
            type = ir.FunctionType(_FLOATS, [_FLOATS, _NUMBERS, _FLOATS])
            name = "llvm.x86.avx512.vpermi2var.ps.512"
            self.permutation = ir.Function(self.module, type, name)
        self.b = b = ir.IRBuilder(function.append_basic_block())
        self.program = {name: load(b, program, i, I64) for i, name in enumerate(PROGRAM)}
        blocks = b.sdiv(b.add(self.rows, constant(BLOCK - 1)), constant(BLOCK))
        loop(b, 0, blocks, self.evaluate_block)
        b.ret_void()

    def evaluate_block(self, number: Any) -> None:
        b, program = self.b, self.program
        first = b.mul(number, constant(BLOCK))
        left = b.sub(self.rows, first)
        rows = b.select(b.icmp_signed("<", left, constant(BLOCK)), left, constant(BLOCK))
        copy, bits, totals = (
            address(b, self.memory, program[f"block_{name}"], I8)
            for name in ("copy", "bits", "totals")
        )
        loop(
            *(b, 0, program["features"]),
            lambda at: self.ask(at, self.column(at, first, rows, copy), bits),
        )
        parts = b.mul(program["targets"], constant(BLOCK // _LANES))
        loop(b, 0, parts, lambda at: store(b, totals, at, constant(0, _FLOATS)))
        loop(b, 0, program["trees"], lambda tree: self.add_tree(tree, bits, totals))
        loop(b, 0, rows, lambda row: self.give_row(row, first, totals))

    def column(self, at: Any, first: Any, rows: Any, copy: Any) -> Any:
        """Where the block's values of one column lie; step 1."""
        b = self.b
        given = address(b, self.columns, b.add(b.mul(at, self.rows), first), F32)
        is_whole = b.icmp_signed("==", rows, constant(BLOCK))
        copied = b.select(is_whole, constant(0), rows)
        loop(b, 0, copied, lambda row: store(b, copy, row, load(b, given, row, F32)))
        return b.select(is_whole, given, copy)

    def ask(self, at: Any, column: Any, bits: Any) -> None:
        """Step 2, for one column."""
        b = self.b
        begin, nan_right, end = (
            load(b, self.table(name), at, I64) for name in ("begin", "nan_right", "end")
        )
        values = [load(b, column, i, _FLOATS) for i in range(BLOCK // _LANES)]

        def asked(compare: Callable[..., Any]) -> Callable[[Any], None]:
            def one(comparison: Any) -> None:
                threshold = load(b, self.table("threshold"), comparison, F32)
                words = address(b, bits, comparison, _WORDS)
                for i, value in enumerate(values):
                    right = compare(">=", value, splat(b, threshold, _LANES))
                    store(b, words, i, b.bitcast(right, ir.IntType(_LANES)))

            return one

        # Ordered, a comparison with NaN is false; unordered, it is true.
        loop(b, begin, nan_right, asked(b.fcmp_ordered))
        loop(b, nan_right, end, asked(b.fcmp_unordered))

    def add_tree(self, tree: Any, bits: Any, totals: Any) -> None:
        """Steps 3 to 5, for one tree."""
        b = self.b
        asked = address(b, self.table("asked"), b.mul(tree, constant(self.nodes)), I32)
        leaves = address(b, self.table("leaf"), b.mul(tree, constant(self.slots)), F32)
        target = load(b, self.table("target"), tree, I64)
        total = address(b, totals, b.mul(target, constant(BLOCK)), F32)
        turns = self.turns(asked, bits, 0, 0)
        look_up = self.permuting(leaves) if self.permutation else self.loading(leaves)
        for word in range(WORDS):
            number = self.spread([b.extract_element(turn, constant(word, I32)) for turn in turns])
            for part in range(64 // _LANES):
                lanes = range(part * _LANES, (part + 1) * _LANES)
                value = look_up(b.zext(shuffle(b, number, lanes), _NUMBERS))
                at = word * 64 // _LANES + part
                store(b, total, at, b.fadd(load(b, total, at, _FLOATS), value))

    def turns(self, asked: Any, bits: Any, node: int, level: int) -> list[Any]:
        """Step 3: the words of this level and of those below it."""
        b = self.b
        comparison = b.zext(load(b, asked, node, I32), I64)
        chosen = load(b, bits, comparison, _WORDS)
        if level == self.depth - 1:
            return [chosen]
        left = self.turns(asked, bits, 2 * node + 1, level + 1)
        right = self.turns(asked, bits, 2 * node + 2, level + 1)
        sides = zip(left, right, strict=True)
        return [chosen, *(b.xor(one, b.and_(b.xor(one, two), chosen)) for one, two in sides)]

    def spread(self, turns: list[Any]) -> Any:
        """Step 4: the leaf numbers of 64 rows, of a word for each level."""
        b = self.b
        own_bit = ir.Constant(_BYTES, [1 << (row % 8) for row in range(64)])
        number = zero = constant(0, _BYTES)
        for level, turn in enumerate(turns):
            octets = b.bitcast(turn, ir.VectorType(I8, 8))
            of_row = shuffle(b, octets, [row // 8 for row in range(64)])
            right = b.icmp_unsigned("==", b.and_(of_row, own_bit), own_bit)
            worth = constant(1 << (self.depth - 1 - level), _BYTES)
            number = b.or_(number, b.select(right, worth, zero))
        return number

    def permuting(self, leaves: Any) -> Callable[[Any], Any]:
        """The leaves of 16 rows, out of registers that hold the whole tree's."""
        b = self.b
        tables = [load(b, leaves, i, _FLOATS) for i in range(self.slots // _LANES)]

        def look_up(numbers: Any) -> Any:
            pairs = zip(tables[::2], tables[1::2], strict=True)
            found = [b.call(self.permutation, [one, numbers, two]) for one, two in pairs]
            bit = SLOTS
            while len(found) > 1:
                wanted = b.and_(numbers, constant(bit, _NUMBERS))
                upper = b.icmp_unsigned("!=", wanted, constant(0, _NUMBERS))
                pairs = zip(found[::2], found[1::2], strict=True)
                found = [b.select(upper, two, one) for one, two in pairs]
                bit *= 2
            return found[0]

        return look_up

    def loading(self, leaves: Any) -> Callable[[Any], Any]:
        """The leaves of 16 rows, one by one from memory."""
        b = self.b

        def look_up(numbers: Any) -> Any:
            found = constant(0, _FLOATS)
            for lane in (constant(i, I32) for i in range(_LANES)):
                leaf = load(b, leaves, b.zext(b.extract_element(numbers, lane), I64), F32)
                found = b.insert_element(found, leaf, lane)
            return found

        return look_up

    def give_row(self, row: Any, first: Any, totals: Any) -> None:
        """The totals of one row, as the matrix of answers has them."""
        b, targets = self.b, self.program["targets"]
        begin = b.mul(b.add(first, row), targets)

        def one(target: Any) -> None:
            total = load(b, totals, b.add(b.mul(target, constant(BLOCK)), row), F32)
            store(b, self.out, b.add(begin, target), total)

        loop(b, 0, targets, one)

    def table(self, name: str) -> Any:
        return self.b.inttoptr(self.program[name], POINTER)
