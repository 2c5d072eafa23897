"""The inner loop of max pooling as one emitted vector: L windows of a row at once, cell after cell of theirs.

Written as a loop over numbers it becomes vectors too, but then a row of 12 windows costs its 12 scalars, tests whether the
arrays overlap, and sends its maxima and their positions through memory once for every row of x. Here both stay in
registers, and lanes outside of the row are masked: nothing is padded, and nothing read that is not the row's.
Read next: direct.py, which walks the rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

from ..emit import I32, I64, Emitter, switch

intrinsic: Any = numba_intrinsic  # called from compiled code without its first argument
FIRST, COUNT = 4, 5  # rows of windows.cells: where a window begins along the width, and how many cells it has
BESIDE, BESIDE2, APART = range(3)  # how the windows of a row lie: 1 or 2 cells apart, or anyhow


@intrinsic
def max_tile(typingctx, x, x0, depths, rows, row, taps, width, kind, cells, o, many, y, at, to, floor):
    """Windows o, o + 1, ..., `many` of a row but at most L: their maxima to y[to], and where these stand to at[to].

    A plane starts at x[x0]. Under the windows lie depths = (number, step) planes and rows = (number, step) rows of them,
    from position `row` on, of `width` cells each. taps = (number, step, start): for BESIDE and BESIDE2 tap j of window o is
    cell start + o*stride + j*step, if the row has it; for APART it is read off the table `cells`, which also says with which
    cell a window begins: the answer where all are -inf.
    Maxima below `floor` are stored as it.
    """
    def codegen(context, b, sig, args):
        xv, x0v, depthv, rowsv, rowv, tapv, widthv, kindv, cellv, ov, manyv, yv, atv, tov, floorv = args
        (nd, ds), (nh, hs), (nk, ks, start) = (cgutils.unpack_tuple(b, v) for v in (depthv, rowsv, tapv))
        e = Windows(context, b, x)
        e.start, e.width = e.pointer(x, xv, x0v), e.spread(widthv)

        def read(n):
            pitch = b.extract_value(context.make_array(cells)(context, b, cellv).shape, 1)
            return e.integers(e.pointer(cells, cellv, b.add(ov, b.mul(pitch, ir.Constant(I64, n)))))

        def emit(taps):
            begin, through = taps()

            def plane(kd, carried):
                def line(kh, carried):
                    return through(b.add(rowv, b.add(b.mul(kd, ds), b.mul(kh, hs))), carried)
                return e.loop(nh, carried, line)

            top, where = e.loop(nd, [e.lowest, b.add(begin, e.spread(rowv))], plane)
            mine = b.icmp_signed("<", e.count, e.spread(manyv))
            least = e.broadcast(floorv)
            e.masked_store(e.raised(top, least), e.pointer(y, yv, tov), mine)
            e.masked_store(e.wide(where), e.pointer(at, atv, tov), mine)

        def beside(stride):
            first = b.add(start, b.mul(ov, ir.Constant(I64, stride)))
            return read(FIRST), lambda line, carried: e.loop(nk, carried, lambda j, carried: e.larger(
                carried, *e.beside(stride, line, b.add(first, b.mul(j, ks)))))

        def apart():
            windows = read(FIRST), read(COUNT)
            return windows[0], lambda line, carried: e.loop(nk, carried, lambda j, carried: e.larger(
                carried, *e.apart(*windows, line, j, b.mul(j, ks))))

        switch(b, kindv, [partial(emit, taps) for taps in (partial(beside, 1), partial(beside, 2), apart)])
        return context.get_dummy_value()

    i, pair, triple = types.int64, types.UniTuple(types.int64, 2), types.UniTuple(types.int64, 3)
    return types.void(x, i, pair, pair, i, triple, i, i, cells, i, i, y, at, i, x.dtype), codegen


class Windows(Emitter):
    """L windows of a row: their numbers in one vector, beside it a vector of integers of the same width, cells of a plane."""

    start: Any  # the plane
    width: Any  # of a row, in every lane

    def __init__(self, context: Any, builder: Any, array: types.Array) -> None:
        super().__init__(context, builder, array)
        self.ints = ir.VectorType(ir.IntType(8 * self.size), self.L)
        self.count = ir.Constant(self.ints, list(range(self.L)))
        self.none = ir.Constant(self.ints, [0] * self.L)
        self.lowest = ir.Constant(self.vec, [float("-inf")] * self.L)

    def spread(self, number: Any) -> Any:
        """An int64 in every lane."""
        v = self.b.insert_element(ir.Constant(self.ints, ir.Undefined), self._narrow(number, self.ints.element),
                                  ir.Constant(I32, 0))
        return self.b.shuffle_vector(v, v, ir.Constant(ir.VectorType(I32, self.L), [0] * self.L))

    def larger(self, carried: list, v: Any, position: Any) -> list:
        """The larger of (value, position) and v, which comes later; the first NaN before anything else."""
        top, where = carried
        wins = self.b.and_(self.b.fcmp_unordered(">", v, top), self.b.fcmp_ordered("==", top, top))
        return [self.b.select(wins, v, top), self.b.select(wins, position, where)]

    def wide(self, integers: Any) -> Any:
        """As int64."""
        return self.b.sext(integers, ir.VectorType(I64, self.L)) if self.size < 8 else integers

    def masked_integers(self, pointer: Any, mask: Any) -> Any:
        """Those int64 that `mask` has, 0 in the other lanes."""
        vec = ir.VectorType(I64, self.L)
        load = cgutils.get_or_insert_function(
            self.b.module, ir.FunctionType(vec, [vec.as_pointer(), I32, mask.type, vec]),
            f"llvm.masked.load.v{self.L}i64.p0")
        return self._narrow(self.b.call(load, [self.b.bitcast(pointer, vec.as_pointer()), I32(8), mask,
                                               ir.Constant(vec, [0] * self.L)]), self.ints)

    def integers(self, pointer: Any) -> Any:
        """L neighbouring int64."""
        v = self.b.load(self.b.bitcast(pointer, ir.VectorType(I64, self.L).as_pointer()))
        v.align = 8
        return self._narrow(v, self.ints)

    def beside(self, stride: int, line: Any, i: Any) -> tuple[Any, Any]:
        """Cells i, i + stride, ... of the row at `line`, -inf for those it does not have, and their positions."""
        b = self.b
        parts = []
        for n in range(stride):
            at = b.add(i, ir.Constant(I64, n * self.L))
            parts.append(self.masked_load(self.at(self.start, b.add(line, at)), self.inside(at), self.lowest))
        v = parts[0] if stride == 1 else self.shuffle(parts[0], parts[1], list(range(0, 2 * self.L, 2)))
        return v, b.add(self.spread(b.add(line, i)), ir.Constant(self.ints, [stride * n for n in range(self.L)]))

    def inside(self, i: Any) -> Any:
        """The mask of cells i, i + 1, ... that a row has."""
        return self.b.icmp_unsigned("<", self.b.add(self.spread(i), self.count), self.width)

    def apart(self, first: Any, count: Any, line: Any, j: Any, away: Any) -> tuple[Any, Any]:
        """The cell `away` from the first of each window, which is its j-th of `count`, and its position."""
        b = self.b
        where = b.add(first, self.spread(b.add(line, away)))
        inside = b.icmp_signed("<", self.spread(j), count)
        wide = ir.VectorType(I64, self.L)
        bytes_on = b.mul(self.wide(where), ir.Constant(wide, [self.size] * self.L))
        start = b.insert_element(ir.Constant(wide, ir.Undefined), b.ptrtoint(self.start, I64), ir.Constant(I32, 0))
        start = b.shuffle_vector(start, start, ir.Constant(ir.VectorType(I32, self.L), [0] * self.L))
        pointers = b.inttoptr(b.add(start, bytes_on), ir.VectorType(self.elt.as_pointer(), self.L))
        gather = cgutils.get_or_insert_function(
            b.module, ir.FunctionType(self.vec, [pointers.type, I32, inside.type, self.vec]),
            f"llvm.masked.gather.v{self.L}f{8 * self.size}.v{self.L}p0")
        return b.call(gather, [pointers, ir.Constant(I32, self.size), inside, self.lowest]), where

    def _narrow(self, v: Any, to: Any) -> Any:
        return self.b.trunc(v, to) if self.size < 8 else v
