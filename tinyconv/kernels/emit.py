"""The few LLVM instructions that tiles are written in: vectors of the host's width, of one element type.

Read next: tile.py, the tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from . import host

I32, I64 = ir.IntType(32), ir.IntType(64)


def lanes(itemsize: int) -> int:
    """Numbers of this size in one vector."""
    return max(host.VECTOR_BYTES // itemsize, 1)


class Emitter:
    """Instructions on vectors of the numbers that `array` holds, at the end of `builder`."""

    def __init__(self, context: Any, builder: Any, array: types.Array) -> None:
        self.context, self.b = context, builder
        self.elt = context.get_value_type(array.dtype)
        self.size = array.dtype.bitwidth // 8  # type: ignore[attr-defined]
        self.L = lanes(self.size)
        self.vec = ir.VectorType(self.elt, self.L)
        self.zero = ir.Constant(self.vec, [0.0] * self.L)
        suffix = f"v{self.L}f{8 * self.size}"
        self._fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.vec, [self.vec] * 3), f"llvm.fmuladd.{suffix}")
        self.mask = ir.VectorType(ir.IntType(1), self.L)
        self._masked_load = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.vec, [self.vec.as_pointer(), I32, self.mask, self.vec]),
            f"llvm.masked.load.{suffix}.p0")

    def pointer(self, array: types.Array, value: Any, index: Any) -> Any:
        return self.b.gep(self.context.make_array(array)(self.context, self.b, value).data, [index])

    def at(self, pointer: Any, index: Any) -> Any:
        return self.b.gep(pointer, [index if isinstance(index, ir.Value) else ir.Constant(I64, index)])

    def load(self, pointer: Any) -> Any:
        v = self.b.load(self.b.bitcast(pointer, self.vec.as_pointer()))
        v.align = self.size
        return v

    def store(self, value: Any, pointer: Any) -> None:
        self.b.store(value, self.b.bitcast(pointer, self.vec.as_pointer())).align = self.size

    def masked_load(self, pointer: Any, mask: Any, absent: Any = None) -> Any:
        """The lanes that `mask` has, `absent` (0) in the others, whose memory is not touched."""
        return self.b.call(self._masked_load, [self.b.bitcast(pointer, self.vec.as_pointer()),
                                               ir.Constant(I32, self.size), mask, self.zero if absent is None else absent])

    def masked_store(self, v: Any, pointer: Any, mask: Any) -> None:
        """The lanes of v, numbers or int64, that `mask` has; memory of the others is not touched."""
        kind, size = ("i", 8) if isinstance(v.type.element, ir.IntType) else ("f", self.size)
        to = self.b.bitcast(pointer, v.type.as_pointer())
        store = cgutils.get_or_insert_function(
            self.b.module, ir.FunctionType(ir.VoidType(), [v.type, to.type, I32, mask.type]),
            f"llvm.masked.store.v{v.type.count}{kind}{8 * size}.p0")
        self.b.call(store, [v, to, ir.Constant(I32, size), mask])

    def first(self, count: Any) -> Any:
        """The mask of the first `count` lanes, an integer that may be below 0 or above L."""
        counted = ir.Constant(ir.VectorType(I64, self.L), list(range(self.L)))
        undefined = ir.Constant(counted.type, ir.Undefined)
        some = self.b.insert_element(undefined, count, ir.Constant(I32, 0))
        return self.b.icmp_signed("<", counted, self.b.shuffle_vector(
            some, undefined, ir.Constant(ir.VectorType(I32, self.L), [0] * self.L)))

    def within(self, at: Any, width: Any) -> Any:
        """The mask of those of the numbers at, at + 1, ..., one a lane, that are 0 to width - 1."""
        return self.b.and_(self.first(self.b.sub(width, at)), self.b.not_(self.first(self.b.neg(at))))

    def prefetch(self, pointer: Any, write: bool = False) -> None:
        """Ask for the line at `pointer`, which may be anywhere: a prefetch never faults."""
        ask = cgutils.get_or_insert_function(
            self.b.module, ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32]), "llvm.prefetch.p0")
        self.b.call(ask, [pointer, I32(int(write)), I32(3), I32(1)])

    def broadcast(self, scalar: Any) -> Any:
        undefined = ir.Constant(self.vec, ir.Undefined)
        v = self.b.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.b.shuffle_vector(v, undefined, ir.Constant(ir.VectorType(I32, self.L), [0] * self.L))

    def weave(self, rows: list) -> list:
        """rows[i][j] in the order j*len(rows) + i, cut into vectors; the number of rows is a power of two."""
        if len(rows) == 1:
            return rows
        lanes = [j // 2 + j % 2 * self.L for j in range(2 * self.L)]  # a[0], b[0], a[1], ...
        return [self.shuffle(a, b, half) for a, b in zip(self.weave(rows[::2]), self.weave(rows[1::2]))
                for half in (lanes[:self.L], lanes[self.L:])]

    def abreast(self, vectors: list) -> Any:
        """One vector, whose lane i is the sum of the lanes of vectors[i]; beyond the last of them it is anything."""
        run = 1  # lanes that hold parts of neighbouring sums, as often as it takes to fill the vector
        while run < self.L:
            even, odd = ([(j // (2 * run) * 2 + half) * run + j % run + j // run % 2 * self.L for j in range(self.L)]
                         for half in (0, 1))  # of a and b by turns: their runs 0, 2, ... and 1, 3, ...
            pairs = [(vectors[i], vectors[min(i + 1, len(vectors) - 1)]) for i in range(0, len(vectors), 2)]
            vectors = [self.b.fadd(self.shuffle(a, b, even), self.shuffle(a, b, odd)) for a, b in pairs]
            run *= 2
        return vectors[0]

    def shuffle(self, a: Any, b: Any, lanes: list[int]) -> Any:
        return self.b.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))

    def store_part(self, v: Any, first: int, count: int, pointer: Any) -> None:
        """Lanes first, ... of v, `count` of them, to pointer."""
        whole = 1 << (count - 1).bit_length()
        if whole < v.type.count:
            v = self.shuffle(v, ir.Constant(v.type, ir.Undefined), list(range(first, first + whole)))
        if count == whole:
            self.b.store(v, self.b.bitcast(pointer, v.type.as_pointer())).align = self.size
            return
        self.masked_store(v, pointer, ir.Constant(ir.VectorType(ir.IntType(1), whole), [i < count for i in range(whole)]))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.b.call(self._fma, [a, b, c])

    def raised(self, v: Any, floor: Any) -> Any:
        """v, or `floor` where v is less; NaN stays NaN."""
        return self.b.select(self.b.fcmp_ordered("<", v, floor), floor, v)

    def loop(self, count: Any, start: list, body: Any) -> list:
        """Carry `start` through `body(t, values) -> values` for t in 0..count-1; none at all where count is 0."""
        b = self.b
        before, loop, done = b.block, b.function.append_basic_block("tile"), b.function.append_basic_block("tiled")
        b.cbranch(b.icmp_signed(">", count, ir.Constant(I64, 0)), loop, done)
        b.position_at_end(loop)
        t = b.phi(I64)
        carried = [b.phi(v.type) for v in start]
        new = body(t, carried)
        after = b.add(t, ir.Constant(I64, 1))
        for phi, first, later in zip([t, *carried], [ir.Constant(I64, 0), *start], [after, *new]):
            phi.add_incoming(first, before)
            phi.add_incoming(later, b.block)
        last = b.block
        b.cbranch(b.icmp_signed("<", after, count), loop, done)
        b.position_at_end(done)
        out = [b.phi(v.type) for v in start]
        for phi, first, later in zip(out, start, new):
            phi.add_incoming(first, before)
            phi.add_incoming(later, last)
        return out


def switch(builder: Any, number: Any, cases: list[Callable[[], None]]) -> None:
    """Run cases[number]()."""
    done = builder.append_basic_block("done")
    blocks = [builder.append_basic_block(f"size{i}") for i in range(len(cases))]
    switch = builder.switch(number, done)
    for i, (block, case) in enumerate(zip(blocks, cases)):
        switch.add_case(ir.Constant(I64, i), block)
        builder.position_at_end(block)
        case()
        builder.branch(done)
    builder.position_at_end(done)


def outlined(codegen: Callable[..., Any]) -> Callable[..., Any]:
    """The same instructions in a function of their own, which is called.

    In the loop around them LLVM would count up the address of every load and store by itself, on the stack: more work than a
    transform is.
    """
    def call(context: Any, b: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
        own = ir.Function(b.module, kind, b.module.get_unique_name("tile"))
        own.linkage = "internal"
        own.attributes.add("noinline")
        inner = ir.IRBuilder(own.append_basic_block())
        codegen(context, inner, sig, own.args)
        inner.ret_void()
        b.call(own, args)
        return context.get_dummy_value()

    return call
