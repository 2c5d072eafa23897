"""Max pooling by windows of 2x2 that lie side by side, and its gradient, in vectors that run across rows.

    row 0   a0 a1 | b0 b1 | c0 c1       upper cells   a0 a1 b0 b1 c0 c1 | d0 d1 e0 e1 f0 f1 | ...
    row 1   a2 a3 | b2 b3 | c2 c3       lower cells   a2 a3 b2 b3 c2 c3 | d2 d3 e2 e3 f2 f3 | ...
    row 2   d0 d1 | e0 e1 | f0 f1

A row of 4 or 12 windows fills a vector of 16 badly, so a vector takes the next windows of the plane wherever they stand: its
cells are read in spans, one for each row of windows it touches, each a masked load into the one before; whole rows that fill
it are read as they lie, and sorted by shuffles. No two windows share a cell, so the gradient writes each cell once: y[o] where
at[o] is this cell, else 0. A plane is written by one thread.
Read next: tile.py for windows that lie otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as numba_intrinsic

from ...dims import AnyPool, PoolDims
from ..emit import I64, lanes, switch
from ..invoke import each
from ..jit import njit
from .tile import Windows

intrinsic: Any = numba_intrinsic  # called from compiled code without its first argument
u = np.uintp
KEPT = 64  # tables remembered, whose size is that of a map
TASKS = 32  # at most: more of them cost calls, fewer would leave threads idle
SPANS = 4  # a turn, where there are more than two: no loop for rows of 5 windows and more
MANY, FEW, WHOLE = range(3)  # how a vector is read: by turns of spans, by two spans, or as 1, 2, 4 whole rows (WHOLE + 0, 1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The windows of a plane as vectors of L.

    corners: (vectors, L), where the first cell of each window stands. spans: (vectors, 3), how many windows the first span
    has, how many spans there are, and how to read them. sizes: vectors of a plane, windows of a plane, cells of a plane,
    windows of a row, cells of a row. covering: whether every cell is in a window.
    """

    corners: np.ndarray
    spans: np.ndarray
    sizes: np.ndarray
    covering: bool


@lru_cache(maxsize=KEPT)
def pairs(dims: AnyPool, itemsize: int) -> Pairs | None:
    """None where windows lie otherwise, or where one is clipped; and without a compiler, as vectors are machine code only."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return None
    if not isinstance(dims, PoolDims) or not dims.kernel == dims.stride == (2, 2) or dims.dilation != (1, 1):
        return None
    (H, W), (OH, OW) = dims.input, dims.output
    if any(map(any, dims.padding)) or 2 * OH > H or 2 * OW > W or H * W >= 2**31:  # positions are of 32 bits in a vector
        return None
    return _pairs(H, W, OH, OW, itemsize)


@lru_cache(maxsize=KEPT)
def _pairs(H: int, W: int, OH: int, OW: int, itemsize: int) -> Pairs:
    L = lanes(itemsize)
    first = np.arange(0, OH * OW, L)
    o, room = np.arange(len(first) * L), OW - first % OW
    left = np.minimum(L, OH * OW - first)
    count = np.maximum(1 - (room - left) // OW, 1)  # the first, and as many as the rest fills
    how = np.where(count > 2, MANY, FEW)
    if W == 2 * OW and L // OW * OW == L <= 4 * OW:
        how[left == L] = WHOLE + (L // OW).bit_length() - 1
    corners = (o // OW * 2 * W + o % OW * 2).reshape(-1, L)
    return Pairs(corners.astype(f"i{itemsize}"), np.stack([room, count, how], 1),
                 np.array((len(first), OH * OW, H * W, OW, W), np.int64), 2 * OH == H and 2 * OW == W)


@njit
def max_pairs(x, y, at, corners, spans, sizes, floor):
    """The maxima of all windows, those below `floor` as it, and where they stand in their plane."""
    vectors = y.size // sizes[1] * sizes[0]
    T = min(TASKS, vectors)
    each(T, _max_vectors, (T, vectors, x, y, at, corners, spans, sizes, floor))


@njit(inner=True)
def _max_vectors(t, T, vectors, x, y, at, corners, spans, sizes, floor):
    V, windows, cells = sizes[0], sizes[1], sizes[2]
    begin, end = vectors * t // T, vectors * (t + 1) // T
    for plane in range(begin // V, (end + V - 1) // V):
        for v in range(max(begin - plane * V, 0), min(end - plane * V, V)):
            _max_tile(x, plane * cells, y, at, plane * windows, v, corners, spans, sizes, floor)


@njit
def scatter_pairs(y, where, at, x, corners, spans, sizes, covering, rectify):
    """x[at[o]] += y[o] from zeros; with `rectify` only where where[o] > 0."""
    planes = y.size // sizes[1]
    T = min(TASKS, planes)
    each(T, _scatter_planes, (T, planes, y, where, at, x, corners, spans, sizes, covering, rectify))


@njit(inner=True)
def _scatter_planes(t, T, planes, y, where, at, x, corners, spans, sizes, covering, rectify):
    V, windows, cells = sizes[0], sizes[1], sizes[2]
    for plane in range(planes * t // T, planes * (t + 1) // T):
        if not covering:
            _clear(x, plane * cells, cells)
        strays = 0
        for v in range(V):
            strays |= _scatter_tile(x, plane * cells, y, where, at, plane * windows, v, corners, spans, sizes, rectify)
        if strays:  # positions that no pooling gives, as unpooling may be asked for: one by one
            _clear(x, plane * cells, cells)
            for o in range(plane * windows, (plane + 1) * windows):
                if not rectify or where[u(o)] > 0:
                    x[u(plane * cells + at[u(o)])] += y[u(o)]


@njit(inner=True)
def _clear(x, begin, n):
    for i in range(begin, begin + n):
        x[u(i)] = 0


class Across(Windows):
    """Windows v*L, v*L + 1, ... of a plane: what a tile reads of the tables, and the spans of the cells under them."""

    def __init__(self, context: Any, b: Any, x: types.Array, tables: Any, v: Any) -> None:
        super().__init__(context, b, x)
        corner, span, size = (self.pointer(kind, table, I64(0)) for kind, table in tables)
        windows, self.OW, self.W = (b.load(self.at(size, n)) for n in (1, 3, 4))
        self.room, self.spans, self.how = (b.load(self.at(span, b.add(b.mul(v, I64(3)), I64(n)))) for n in range(3))
        self.o = b.mul(v, I64(self.L))
        self.many = self.least(b.sub(windows, self.o), I64(self.L))
        self.mine = b.icmp_signed("<", self.count, self.spread(self.many))
        corner = self.at(corner, self.o)
        self.origin = b.load(corner) if self.size == 8 else b.sext(b.load(corner), I64)
        self.corner = b.load(b.bitcast(corner, self.ints.as_pointer()))
        self.corner.align = self.size

    def least(self, i: Any, j: Any) -> Any:
        return self.b.select(self.b.icmp_signed("<", i, j), i, j)

    def read(self, how: int, start: Any) -> list:
        """The cells as four vectors, number 2*row + half."""
        if how >= WHOLE:
            return self.sort([self.load(self.at(start, n * self.L)) for n in range(4)], self.places(how))
        return self.walk(how, start, [self.lowest] * 4, lambda k, pointer, mask, cells: [
            *cells[:k], self.masked_load(pointer, mask, cells[k]), *cells[k + 1:]])

    def write(self, how: int, start: Any, cells: list) -> None:
        """The four vectors back to where they are read from."""
        if how >= WHOLE:
            for n, v in enumerate(self.sort(cells, np.argsort(self.places(how)).tolist())):
                self.store(v, self.at(start, n * self.L))
            return

        def part(k, pointer, mask, none):
            self.masked_store(cells[k], pointer, mask)
            return none
        self.walk(how, start, [], part)

    def places(self, how: int) -> list[int]:
        """For every cell of the four vectors in order, where it lies from the first on."""
        W = 2 * self.L >> how - WHOLE
        return [i // W * 2 * W + row * W + i % W for row in range(2) for i in range(2 * self.L)]

    def sort(self, vectors: list, places: list[int]) -> list:
        """Vectors of the elements at these places of `vectors`, of which each needs one or two."""
        out = []
        for n in range(0, len(places), self.L):
            here = places[n:n + self.L]
            low, high = min(here) // self.L, max(here) // self.L
            out.append(self.shuffle(vectors[low], vectors[high], [p % self.L + (p // self.L != low) * self.L for p in here]))
        return out

    def walk(self, how: int, start: Any, carried: list, body: Any) -> list:
        """Carry through body(2*row + half, pointer, mask, values) over the vectors of cells of all spans."""
        b, two = self.b, I64(2)
        jump = b.mul(two, b.sub(self.W, self.OW))  # from the end of a span to where the next begins

        def span(s, carried):
            end = b.add(self.room, b.mul(s, self.OW))
            begin = b.select(b.icmp_signed("==", s, I64(0)), I64(0), self.least(b.sub(end, self.OW), self.many))
            after, size = (self.spread(b.mul(two, n)) for n in (begin, b.sub(self.least(end, self.many), begin)))
            for half in range(2):
                number = ir.Constant(self.ints, [half * self.L + n for n in range(self.L)])
                mask = b.icmp_unsigned("<", b.sub(number, after), size)
                here = self.at(self.at(start, b.mul(s, jump)), half * self.L)
                for row, pointer in enumerate((here, self.at(here, self.W))):
                    carried = body(2 * row + half, pointer, mask, carried)
            return carried

        def turn(t, carried):
            for n in range(SPANS):
                carried = span(b.add(b.mul(t, I64(SPANS)), I64(n)), carried)
            return carried

        if how == FEW:
            return span(I64(1), span(I64(0), carried))
        return self.loop(b.sdiv(b.add(self.spans, I64(SPANS - 1)), I64(SPANS)), carried, turn)

    def either(self, emit: Any) -> None:
        """emit(how) for every way to read."""
        switch(self.b, self.how, [partial(emit, how) for how in range(WHOLE + 3)])


@intrinsic
def _max_tile(typingctx, x, plane, y, at, to, v, corners, spans, sizes, floor):
    """Vector v of the plane that begins at x[plane], its windows at y[to]."""
    def codegen(context, b, sig, args):
        xv, planev, yv, atv, tov, vv, cornerv, spanv, sizev, floorv = args
        e = Across(context, b, x, ((corners, cornerv), (spans, spanv), (sizes, sizev)), vv)
        start, to = e.pointer(x, xv, b.add(planev, e.origin)), b.add(tov, e.o)

        def emit(how):
            cells = e.read(how, start)
            carried = [e.lowest, e.corner]
            for row in range(2):
                first = b.add(e.corner, e.spread(b.mul(I64(row), e.W)))
                left, right = (e.shuffle(cells[2 * row], cells[2 * row + 1], list(range(r, 2 * e.L, 2))) for r in range(2))
                carried = e.larger(carried, *e.larger([left, first], right, b.add(first, e.spread(I64(1)))))
            top, where = carried
            least = e.broadcast(floorv)
            e.masked_store(e.raised(top, least), e.pointer(y, yv, to), e.mine)
            e.masked_store(e.wide(where), e.pointer(at, atv, to), e.mine)

        e.either(emit)
        return context.get_dummy_value()

    i = types.int64
    return types.void(x, i, y, at, i, i, corners, spans, sizes, x.dtype), codegen


@intrinsic
def _scatter_tile(typingctx, x, plane, y, where, at, to, v, corners, spans, sizes, rectify):
    """The cells of x under vector v of windows, as above; not 0 where a position is in none of its window's cells."""
    def codegen(context, b, sig, args):
        xv, planev, yv, wherev, atv, tov, vv, cornerv, spanv, sizev, rectifyv = args
        e = Across(context, b, x, ((corners, cornerv), (spans, spanv), (sizes, sizev)), vv)
        start, to = e.pointer(x, xv, b.add(planev, e.origin)), b.add(tov, e.o)
        value, gate = (e.masked_load(e.pointer(a, v, to), e.mine) for a, v in ((y, yv), (where, wherev)))
        through = b.or_(b.fcmp_ordered(">", gate, e.zero), b.icmp_unsigned("==", e.spread(b.zext(rectifyv, I64)), e.none))
        value = b.select(through, value, e.zero)
        away = b.sub(e.masked_integers(e.pointer(at, atv, to), e.mine), e.corner)
        here = [b.icmp_signed("==", away, e.spread(b.add(b.mul(I64(row), e.W), I64(r)))) for row in range(2) for r in range(2)]
        stray = b.and_(e.mine, b.not_(b.or_(b.or_(*here[:2]), b.or_(*here[2:]))))
        cells = [v for row in (here[:2], here[2:]) for v in e.weave([b.select(mask, value, e.zero) for mask in row])]

        e.either(lambda how: e.write(how, start, cells))
        bits = b.bitcast(stray, ir.IntType(e.L))
        return b.zext(b.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0)), I64)

    i = types.int64
    return i(x, i, y, where, at, i, i, corners, spans, sizes, types.boolean), codegen
