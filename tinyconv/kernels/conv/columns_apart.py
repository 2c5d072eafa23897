"""The input gradient of columns.py at a stride of 2: every cell of x takes the taps that reach it, and no zero is inserted.

    x[n, c, i, j] = sum over o, kh, kw  w[o, c, kh, kw] * y[n, o, (i + ph - kh) / 2, (j + pw - kw) / 2]     where both are whole

Rows of x with i + ph even take the even kh, the others the odd ones; along a row the two kinds take turns. A tile is R rows of
one kind: a vector of each kind of columns, from the same rows of y, woven into 2L neighbours as they are stored.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as numba_intrinsic

from ...dims import ConvDims
from .. import host
from ..emit import I64, Emitter, lanes, outlined, switch
from ..geometry import plain
from ..invoke import share
from ..jit import njit
from . import columns
from .columns import ALONE, KEPT, TASKS, ask, refuse_but

intrinsic: Any = numba_intrinsic(prefer_literal=True)  # called from compiled code without its first argument
u = np.uintp
FEW = 2  # channels to fill in a group: of more of them simd is as fast
ROWS = 8 if host.REGISTERS >= 32 else 3  # of a tile, two sums each
H, W, OH, OW, KW, PH, PW, C, O, SOURCES, CHANNELS, L = range(12)  # places in `sizes`; C and O of a group


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None,
                    relu: bool = False) -> np.ndarray:
    """Fill x: a row of y is read once for all the taps of a column that reach a row of x."""
    if dims.stride == (1, 1):
        return columns.conv_input_grad(y, w, dims, bias, relu)
    sizes = _sizes(dims, lanes(y.itemsize))
    x = np.empty(dims.x_shape, y.dtype)
    b = np.zeros(dims.C, y.dtype) if bias is None else plain(np.asarray(bias, y.dtype), (-1,))
    args = plain(y, (-1,)), plain(w, (-1,)), b, x.reshape(-1), y.dtype.type(0 if relu else -np.inf), sizes
    share(some_bands, TASKS if dims.macs > ALONE else 1, dims.kernel[:1], *args)
    return x


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """As forward, of the channels of x; at a stride of 2 there are fewer, and taps lie side by side."""
    if why := refuse_but(dims, dtype, dims.C, columns.FEW if dims.stride == (1, 1) else FEW):
        return why
    if dims.stride == (2, 2) and dims.dilation[1] > 1:
        return f"at a stride of 2 it takes taps side by side, not at a dilation of {dims.dilation[1]}"
    return ""


@lru_cache(maxsize=KEPT)
def _sizes(dims: ConvDims, L: int) -> np.ndarray:
    """What tiles know of the geometry."""
    per = dims.C // dims.groups, dims.O // dims.groups
    before = (lo for lo, _ in dims.padding)
    return np.array((*dims.input, *dims.output, dims.kernel[1], *before, *per, dims.O, dims.C, L), np.int64)


@njit(inner=True)
def some_bands(t, T, K, y, w, bias, x, floor, sizes):
    """Bands of R rows of each kind, of the planes of x. i and j are in pairs of cells: the first pair begins with padding where
    that is odd."""
    size, taps, y_plane = sizes[H] * sizes[W], K * sizes[KW], sizes[OH] * sizes[OW]
    top, left = sizes[PH] // 2, sizes[PW] // 2
    bands = ((sizes[H] + sizes[PH] + 1) // 2 - top + ROWS - 1) // ROWS
    count = x.size // size * bands
    for unit in range(count * t // T, count * (t + 1) // T):
        plane, band = divmod(unit, bands)
        n, c = divmod(plane, sizes[CHANNELS])
        group, within = divmod(c, sizes[C])
        y0 = (n * sizes[SOURCES] + group * sizes[O]) * y_plane
        w0 = (group * sizes[O] * sizes[C] + within) * taps
        for kind in range(2):
            for j in range(left, (sizes[W] + sizes[PW] + 1) // 2, sizes[L]):
                apart_tile(K, y, y0, w, w0, x, plane * size, kind, top + band * ROWS, j, bias[u(c)], floor, sizes)


class ApartTile(Emitter):
    """The instructions of `apart_tile`, and what they know of its place."""

    def __init__(self, context: Any, b: Any, kinds: Any, values: Any, K: int) -> None:
        (y, w, x, sizes), (yv, y0, wv, w0, xv, x0, self.kind, i, j, start, floor, sizev) = kinds, values
        super().__init__(context, b, y)
        self.K, self.i, self.j = K, i, j
        table = self.pointer(sizes, sizev, I64(0))
        (self.h, self.w, self.oh, self.ow, self.kw, self.ph, self.pw, per, self.sources) = (
            b.load(self.at(table, n)) for n in (H, W, OH, OW, KW, PH, PW, C, O))
        self.step = b.mul(b.mul(self.kw, I64(K)), per)  # from the taps of an output channel to the next's
        self.plane = b.mul(self.oh, self.ow)
        self.y, self.x, self.taps = (self.pointer(a, v, at) for a, v, at in ((y, yv, y0), (x, xv, x0), (w, wv, w0)))
        self.start, self.floor = self.broadcast(start), self.broadcast(floor)
        self.none = ir.Constant(self.mask, [0] * self.L)
        ask(self, self.x, b.add(b.mul(i, I64(2)), b.mul(self.kind, I64(ROWS))), self.w, j, 2 * ROWS, write=True)
        ask(self, self.y, i, self.ow, j, ROWS)

    def emit(self, kind: int) -> None:
        """Rows of one kind: the sums, and what becomes of them."""
        b = self.b
        kh = list(range(kind, self.K, 2))
        rows = ROWS + len(kh) - 1  # of y, the first of which meets the last of these taps

        def channel(o: Any, acc: list) -> list:
            y, taps = self.at(self.y, b.mul(o, self.plane)), self.at(self.taps, b.mul(o, self.step))
            at = [b.add(self.i, I64(row + 1 - len(kh))) for row in range(rows)]
            lines = [(self.at(y, b.mul(row, self.ow)), b.icmp_unsigned("<", row, self.oh)) for row in at]
            acc = self.loop(b.sdiv(self.kw, I64(2)), acc, partial(self.columns, kh, lines, taps, 2))
            return self.loop(b.srem(self.kw, I64(2)), acc, lambda none, acc: self.columns(
                kh, lines, taps, 1, b.sdiv(self.kw, I64(2)), acc))  # the last, of an odd number

        sums = self.loop(self.sources, [self.start] * (2 * ROWS), channel)
        self.finish(kind, sums)

    def columns(self, kh: list[int], lines: list, taps: Any, kinds: int, e: Any, acc: list) -> list:
        """Columns 2e and 2e + 1 of the taps meet the lines of y, e to the left."""
        b, acc = self.b, list(acc)
        at = b.sub(self.j, e)
        mask = self.within(at, self.ow)
        tap = [[self.broadcast(b.load(self.at(taps, b.add(b.mul(self.kw, I64(k)), b.add(b.mul(e, I64(2)), I64(n))))))
                for n in range(kinds)] for k in kh]
        for row, (line, there) in enumerate(lines):
            v = self.masked_load(self.at(line, at), b.select(there, mask, self.none))
            for q in range(len(kh)):
                r = row + q - (len(kh) - 1)  # y row i + r - q
                if 0 <= r < ROWS:
                    for n in range(kinds):
                        acc[2 * r + n] = self.fma(tap[q][n], v, acc[2 * r + n])
        return acc

    def finish(self, kind: int, sums: list) -> None:
        """Clip, weave the two kinds of columns, and store what lies in the plane."""
        b, double = self.b, I64(2)
        j = b.sub(b.mul(self.j, double), self.pw)
        masks = [self.within(b.add(j, I64(half * self.L)), self.w) for half in range(2)]
        for r in range(ROWS):
            i = b.sub(b.add(b.mul(b.add(self.i, I64(r)), double), I64(kind)), self.ph)
            there, line = b.icmp_unsigned("<", i, self.h), self.at(self.x, b.add(b.mul(i, self.w), j))
            pair = [self.raised(v, self.floor) for v in sums[2 * r:2 * r + 2]]
            for half, v in enumerate(self.weave(pair)):
                self.masked_store(v, self.at(line, half * self.L), b.select(there, masks[half], self.none))


@intrinsic
def apart_tile(typingctx, K, y, y0, w, w0, x, x0, kind, i, j, start, floor, sizes):
    """Rows 2(i + r) + kind - ph and columns 2j - pw, ... of a plane of x, r < R: `floor` where the sum is less, NaN stays NaN.

                             y row i - 1    y row i      y row i + 1
        x row 2i - ph        w[2]           w[0]                           K = 3 taps of a column
        x row 2i + 1 - ph                   w[1]
        x row 2i + 2 - ph                   w[2]         w[0]
        x row 2i + 3 - ph                                w[1]

    K is a literal.
    """
    if not isinstance(K, types.IntegerLiteral):
        return None

    @outlined
    def codegen(context, b, sig, args):
        tile = ApartTile(context, b, (y, w, x, sizes), args[1:], K.literal_value)
        switch(b, tile.kind, [partial(tile.emit, kind) for kind in range(2)])
        return context.get_dummy_value()

    n = types.int64
    return types.void(K, y, n, w, n, x, n, n, n, n, y.dtype, y.dtype, sizes), codegen
