"""Max pooling whose windows lie pair after pair along the width, and its gradient, in vectors that run across rows.

         row 0    a0 a1 | b0 b1 | c0 c1        top    a0 a1 b0 b1 c0 c1 d0 d1 e0 e1 f0 f1 ...
         row 1    a2 a3 | b2 b3 | c2 c3        below  a2 a3 b2 b3 c2 c3 d2 d3 e2 e3 f2 f3 ...
         row 2    d0 d1 | e0 e1 | f0 f1

A row of 4 or 12 windows fills a vector of 16 badly, so a vector takes the next windows of the plane wherever they stand: its
cells are read in spans, one for each row of windows it touches, each a masked load over the one before. Seen from x no window
overlaps another, so the gradient writes each cell once: y[o] where at[o] is this cell, else 0.
Read next: tile.py for windows that lie otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

from ...dims import AnyPool, PoolDims
from ..emit import I64, lanes
from ..invoke import each
from ..jit import njit
from .tile import Windows

intrinsic: Any = numba_intrinsic  # called from compiled code without its first argument
u = np.uintp
TASKS = 32  # at most: more of them cost calls, fewer would leave threads idle


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The windows of a slab (the planes of x under one depth of y) as vectors of L.

    corners: (vectors, L), where window o's first cell stands. spans: (vectors, 2), how many windows the first span has, and
        how many spans there are.
    sizes: (vectors and windows of a slab, slabs of a plane, cells of a plane, cells from one slab to the next, number and
        step of planes and of rows under a window, windows of a row, cells from the end of one span to the next one's begin).
    apart: windows share no cell. covering: every cell is in a window.
    """

    corners: np.ndarray
    spans: np.ndarray
    sizes: np.ndarray
    apart: bool
    covering: bool


@lru_cache(maxsize=1024)
def pairs(dims: AnyPool, itemsize: int) -> Pairs | None:
    """None where windows lie otherwise, or where one is clipped."""
    if not isinstance(dims, PoolDims) or (dims.kernel[-1], dims.stride[-1], dims.dilation[-1]) != (2, 2, 1):
        return None
    reach = [(k - 1) * d + 1 for k, d in zip(dims.kernel, dims.dilation)]
    if any(map(any, dims.padding)) or any((o - 1) * s + r > i for o, s, r, i in zip(dims.output, dims.stride, reach, dims.input)):
        return None
    lead, L = (1,) * (3 - dims.rank), lanes(itemsize)
    (D, H, W), (OD, OH, OW), (KD, KH, _), (sd, sh, _), (dd, dh, _) = (
        lead + n for n in (dims.input, dims.output, dims.kernel, dims.stride, dims.dilation))
    n = OH * OW
    first = np.arange(0, n, L)
    o = np.arange(len(first) * L)
    room = OW - first % OW
    count = 1 + np.maximum(np.minimum(L, n - first) - room + OW - 1, 0) // OW
    sizes = (len(first), n, OD, D * H * W, sd * H * W, KD, dd * H * W, KH, dh * W, OW, sh * W - 2 * OW)
    return Pairs((o // OW * sh * W + 2 * (o % OW)).reshape(-1, L).astype(f"i{itemsize}"), np.stack([room, count], 1),
                 np.array(sizes, np.int64), all(s >= r for s, r in zip(dims.stride, reach)),
                 all(s == k and d == 1 and o * s == i
                     for s, k, d, o, i in zip(dims.stride, dims.kernel, dims.dilation, dims.output, dims.input)))


@njit
def max_pairs(x, y, at, corners, spans, sizes, floor):
    """The maxima of all windows, those below `floor` as it, and where they stand in their plane."""
    T = min(TASKS, y.size // max(sizes[1], 1) * sizes[0])
    each(T, _max_vectors, (T, x, y, at, corners, spans, sizes, floor))


@njit(inner=True)
def _max_vectors(t, T, x, y, at, corners, spans, sizes, floor):
    V, windows, OD = sizes[0], sizes[1], sizes[2]
    all_ = y.size // windows * V
    begin, end = all_ * t // T, all_ * (t + 1) // T
    for slab in range(begin // V, (end + V - 1) // V):
        base = slab % OD * sizes[4]
        for v in range(max(begin - slab * V, 0), min(end - slab * V, V)):
            _max_tile(x, slab // OD * sizes[3], base, y, at, slab * windows, windows, v, corners, spans, sizes, floor)


@njit
def scatter_pairs(y, where, at, x, corners, spans, sizes, covering, rectify):
    """x[at[o]] += y[o] from zeros, with `rectify` only where where[o] > 0, for windows that are apart."""
    planes = y.size // max(sizes[1] * sizes[2], 1)
    T = min(TASKS, planes)
    each(T, _scatter_planes, (T, planes, y, where, at, x, corners, spans, sizes, covering, rectify))


@njit(inner=True)
def _scatter_planes(t, T, planes, y, where, at, x, corners, spans, sizes, covering, rectify):
    V, windows, OD, cells = sizes[0], sizes[1], sizes[2], sizes[3]
    for plane in range(planes * t // T, planes * (t + 1) // T):
        if not covering:
            _clear(x, plane * cells, cells)
        strays = 0
        for slab in range(plane * OD, plane * OD + OD):
            base = slab % OD * sizes[4]
            for v in range(V):
                strays |= _scatter_tile(x, plane * cells, base, y, where, at, slab * windows, windows, v, corners, spans, sizes,
                                        rectify)
        if strays:  # not a pooling's own positions, but anyone's: cell by cell
            _clear(x, plane * cells, cells)
            for o in range(plane * OD * windows, (plane + 1) * OD * windows):
                if not rectify or where[u(o)] > 0:
                    x[u(plane * cells + at[u(o)])] += y[u(o)]


@njit(inner=True)
def _clear(x, begin, n):
    for i in range(begin, begin + n):
        x[u(i)] = 0


class Across(Windows):
    """L windows from number v*L of a slab on, across its rows: what a tile reads of the tables, and the spans of a row of x."""

    def __init__(self, context: Any, b: Any, x: types.Array, tables: Any, v: Any, windows: Any) -> None:
        super().__init__(context, b, x)
        (corners, cornerv), (spans, spanv), (sizes, sizev) = tables
        number = self.pointer(sizes, sizev, I64(0))
        self.nd, self.ds, self.nh, self.hs, self.OW, self.jump = (b.load(self.at(number, n)) for n in range(5, 11))
        span = self.pointer(spans, spanv, I64(0))
        self.room, self.spans = (b.load(self.at(span, b.add(b.add(v, v), I64(n)))) for n in range(2))
        self.o = b.mul(v, I64(self.L))
        left = b.sub(windows, self.o)
        self.many = b.select(b.icmp_signed("<", left, I64(self.L)), left, I64(self.L))
        self.mine = b.icmp_signed("<", self.count, self.spread(self.many))
        here = self.pointer(corners, cornerv, self.o)
        self.origin = b.load(here)
        if self.size < 8:
            self.origin = b.sext(self.origin, I64)
        self.corner = b.load(b.bitcast(here, self.ints.as_pointer()))
        self.corner.align = self.size

    def lines(self, carried: list, body: Any) -> list:
        """Carry through body(offset of a row from the window's corner, values) for every row of cells under a window."""
        def plane(kd, carried):
            return self.loop(self.nh, carried, lambda kh, carried: body(
                self.b.add(self.b.mul(kd, self.ds), self.b.mul(kh, self.hs)), carried))
        return self.loop(self.nd, carried, plane)

    def over(self, start: Any, carried: list, body: Any) -> list:
        """Carry through body(pointer, mask, values) for every span and for both vectors of cells of it."""
        b = self.b

        def span(s, carried):
            end = b.add(self.room, b.mul(s, self.OW))
            begin = b.select(b.icmp_signed("==", s, I64(0)), I64(0), b.sub(end, self.OW))
            end = b.select(b.icmp_signed("<", end, self.many), end, self.many)
            size = self.spread(b.shl(b.sub(end, begin), I64(1)))
            here, after = self.at(start, b.mul(s, self.jump)), self.spread(b.shl(begin, I64(1)))
            for half in range(2):
                number = ir.Constant(self.ints, [half * self.L + n for n in range(self.L)])
                mask = b.icmp_unsigned("<", b.sub(number, after), size)
                carried = body(half, self.at(here, half * self.L), mask, carried)
            return carried
        return self.loop(self.spans, carried, span)


@intrinsic
def _max_tile(typingctx, x, plane, base, y, at, to, windows, v, corners, spans, sizes, floor):
    """Vector v of a slab, which begins at x[plane + base] and y[to] and has so many windows."""
    def codegen(context, b, sig, args):
        xv, planev, basev, yv, atv, tov, manyv, vv, cornerv, spanv, sizev, floorv = args
        e = Across(context, b, x, ((corners, cornerv), (spans, spanv), (sizes, sizev)), vv, manyv)
        start = e.pointer(x, xv, b.add(b.add(planev, basev), e.origin))
        corner = b.add(e.corner, e.spread(basev))

        def line(offset, carried):
            def load(half, pointer, mask, cells):
                cells = list(cells)
                cells[half] = e.masked_load(pointer, mask, cells[half])
                return cells
            low, high = e.over(e.at(start, offset), [e.lowest, e.lowest], load)
            even, odd = (e.shuffle(low, high, list(range(r, 2 * e.L, 2))) for r in range(2))
            first = b.add(corner, e.spread(offset))
            pair = e.larger([even, first], odd, b.add(first, e.spread(I64(1))))
            return e.larger(carried, *pair)

        top, where = e.lines([e.lowest, corner], line)
        to = b.add(tov, e.o)
        least = e.broadcast(floorv)
        e.masked_store(b.select(b.fcmp_ordered("<", top, least), least, top), e.pointer(y, yv, to), e.mine)
        e.masked_store(e.wide(where), e.pointer(at, atv, to), e.mine)
        return context.get_dummy_value()

    i = types.int64
    return types.void(x, i, i, y, at, i, i, i, corners, spans, sizes, x.dtype), codegen


@intrinsic
def _scatter_tile(typingctx, x, plane, base, y, where, at, to, windows, v, corners, spans, sizes, rectify):
    """Vector v of a slab as above, its cells of x written; not 0 where a window's position is none of its cells."""
    def codegen(context, b, sig, args):
        xv, planev, basev, yv, wherev, atv, tov, manyv, vv, cornerv, spanv, sizev, rectifyv = args
        e = Across(context, b, x, ((corners, cornerv), (spans, spanv), (sizes, sizev)), vv, manyv)
        start = e.pointer(x, xv, b.add(b.add(planev, basev), e.origin))
        to = b.add(tov, e.o)
        value, gate = (e.masked_load(e.pointer(a, v, to), e.mine) for a, v in ((y, yv), (where, wherev)))
        shut = b.select(rectifyv, b.not_(b.fcmp_ordered(">", gate, e.zero)), ir.Constant(e.mask, [0] * e.L))
        value = b.select(shut, e.zero, value)
        away = b.sub(e.masked_integers(e.pointer(at, atv, to), e.mine), b.add(e.corner, e.spread(basev)))

        def line(offset, known):
            here = [b.icmp_signed("==", away, e.spread(b.add(offset, I64(r)))) for r in range(2)]
            cells = e.weave([b.select(mask, value, e.zero) for mask in here])

            def store(half, pointer, mask, none):
                e.masked_store(cells[half], pointer, mask)
                return none
            e.over(e.at(start, offset), [], store)
            return [b.or_(known[0], b.or_(*here))]

        known, = e.lines([b.not_(e.mine)], line)
        bits = b.bitcast(b.not_(known), ir.IntType(e.L))
        return b.zext(b.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0)), I64)

    i = types.int64
    return i(x, i, i, y, where, at, i, i, i, corners, spans, sizes, types.boolean), codegen
