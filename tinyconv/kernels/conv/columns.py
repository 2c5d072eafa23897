"""Direct sums for few output channels: each row of x is read once for a whole column of taps, and nothing is copied.

    y[n, o, i, j] = b[o] + sum over c, kh, kw  w[o, c, kh, kw] * x[n, c, i*s + kh - ph, j*s + kw*d - pw]

A tile is R rows of a vector of neighbours. For a column of taps, kw, it reads R + KH - 1 rows (stride 1), each of which meets
all the taps that reach it: 16 loads for the 42 multiply-adds of a column of 3, where a sum at a time has a load for each.
simd.py reuses what it reads for many output channels instead. A depthwise convolution has one for each input channel, and a
transposed convolution to an image few. The input gradient at stride 1 is the same sum over y, the taps turned over; at stride 2
it is columns_apart.py, and the weight gradient is columns_weights.py.

Nothing is copied: what lies beyond the ends of a row, above the first and below the last, a mask makes 0 as it is loaded. It is
multiplied: an infinite weight makes NaN there.
Sums run in an order that the shape alone decides: the same bits on any number of threads.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as numba_intrinsic

from ...dims import ConvDims, Ints
from .. import host
from ..emit import I64, Emitter, lanes, outlined, switch
from ..geometry import floats_only, plain
from ..invoke import share
from ..jit import njit

intrinsic: Any = numba_intrinsic(prefer_literal=True)  # called from compiled code without its first argument
u = np.uintp
KEPT = 64  # tables remembered
ROWS = (14, 7) if host.REGISTERS >= 32 else (7,)  # of a tile, a sum each: with a column of taps they fit the registers
TALLEST = 7  # taps of a column
FEW = 4  # channels to fill in a group: of more of them simd is as fast
ENTRY = 6  # what a tile costs beside its rows, counted in rows
TASKS = 32  # of some bands each, or none
ALONE = 1 << 18  # multiply-adds that one thread is done with before another has begun
AHEAD = 1024  # numbers from what a tile reads, and writes, to what it asks the caches for
WHOLE, BETWEEN, ANY = range(3)  # a tile that reads in the plane; whose rows do, but for the first and last taps; another
H, W, OH, OW, KW, PH, PW, D, Q, PER, SOURCES, CHANNELS, STEP, TURN, L = range(15)  # places in `sizes`


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """Fill y: a tile of rows reads each row of x once for a column of taps."""
    return _fill(x, w, dims, False, bias, relu)


def conv_input_grad(y: np.ndarray, w: np.ndarray, dims: ConvDims, bias: np.ndarray | None = None,
                    relu: bool = False) -> np.ndarray:
    """Fill x at a stride of 1: the same tiles over y, with the taps turned over."""
    return _fill(y, w, dims, True, bias, relu)


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """Images, few output channels in a group, and kernels of a few rows of taps."""
    return refuse_but(dims, dtype, dims.O, FEW)


def refuse_but(dims: ConvDims, dtype: np.dtype, channels: int, most: int, strides: Ints = (1, 2), least: int = 2) -> str:
    """What all three maps refuse, but for so many channels to fill, these strides, and rows of taps from `least` on."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return "its tiles exist only as machine code, and NUMBA_DISABLE_JIT is set"
    if host.VECTOR_BYTES < 32:
        return f"it loads by masks, which vectors of {host.VECTOR_BYTES} bytes do not have"
    if why := floats_only(dims, dtype):
        return why
    if dims.rank != 2 or dims.stride not in [(s, s) for s in strides]:
        return f"it takes images and strides of {' and '.join(map(str, strides))}, not {dims.rank} dimensions and {dims.stride}"
    if not least <= dims.kernel[0] <= TALLEST or dims.dilation[0] > 1:
        return (f"it takes {least} to {TALLEST} rows of taps, side by side, not {dims.kernel[0]} at a dilation of "
                f"{dims.dilation[0]}")
    if channels > most * dims.groups:
        return f"it fills {most} channels of a group at most, not {channels // dims.groups}: for more of them simd is as fast"
    return ""


def _fill(src: np.ndarray, w: np.ndarray, dims: ConvDims, flipped: bool, bias: np.ndarray | None, relu: bool) -> np.ndarray:
    sizes, shape = _sizes(dims, lanes(src.itemsize), flipped)
    dst = np.empty(dims.x_shape if flipped else dims.y_shape, src.dtype)
    b = np.zeros(dims.C if flipped else dims.O, src.dtype) if bias is None else plain(np.asarray(bias, src.dtype), (-1,))
    args = (plain(src, (-1,)), plain(w, (-1,)), b, dst.reshape(-1), src.dtype.type(0 if relu else -np.inf), sizes)
    share(some_bands, TASKS if dims.macs > ALONE else 1, shape, *args)
    return dst


@lru_cache(maxsize=KEPT)
def _sizes(dims: ConvDims, L: int, flipped: bool) -> tuple[np.ndarray, tuple[int, int, int]]:
    """What tiles know of the geometry; rows of a tile, rows of the kernel, and stride."""
    (kh, kw), (ph, pw), d, s = dims.kernel, (lo for lo, _ in dims.padding), dims.dilation[1], dims.stride[0]
    C, O, taps = dims.C // dims.groups, dims.O // dims.groups, kh * kw
    if flipped:
        ph, pw = kh - 1 - ph, d * (kw - 1) - pw
        sizes = *dims.output, *dims.input, kw, ph, pw, d, O, C, dims.O, dims.C, C * taps, -1, L
    else:
        sizes = *dims.input, *dims.output, kw, ph, pw, d, C, O, dims.C, dims.O, taps, 1, L
    rows = min(ROWS, key=lambda R: -(-sizes[OH] // R) * (R + ENTRY))
    return np.array(sizes, np.int64), (rows, kh, s)


@njit(inner=True)
def some_bands(t, T, R, K, S, src, w, bias, dst, floor, sizes):
    """Bands of R rows of the planes of dst: at their right and lower ends tiles overlap, so that none is cut short:
    the same sum is then written twice."""
    size, taps, per = sizes[OH] * sizes[OW], K * sizes[KW], sizes[PER]
    bands, right, low = (sizes[OH] + R - 1) // R, max(sizes[OW] - sizes[L], 0), max(sizes[OH] - R, 0)
    count = dst.size // size * bands
    for unit in range(count * t // T, count * (t + 1) // T):
        plane, band = divmod(unit, bands)
        n, o = divmod(plane, sizes[CHANNELS])
        group, c = divmod(o, per)
        x0 = (n * sizes[SOURCES] + group * sizes[Q]) * sizes[H] * sizes[W]
        w0 = (group * sizes[Q] * per + c) * taps if sizes[TURN] < 0 else o * sizes[Q] * taps
        for j in range(0, sizes[OW], sizes[L]):
            column_tile(R, K, S, src, x0, w, w0, dst, plane * size, min(band * R, low), min(j, right), bias[u(o)], floor, sizes)


def ask(e: Emitter, plane: Any, row: Any, width: Any, column: Any, lines: int, write: bool = False) -> None:
    """For so many lines further on as a tile at this row and column uses: planes lie behind each other, but the rows of a tile
    apart, and a processor that waits for each of them is four times as slow."""
    gone = e.b.add(e.b.mul(row, width), e.b.mul(column, I64(lines)))
    for n in range(lines):
        e.prefetch(e.at(plane, e.b.add(gone, I64(AHEAD + n * e.L))), write)


class ColumnTile(Emitter):
    """The instructions of `column_tile`, and what they know of its place."""

    def __init__(self, context: Any, b: Any, kinds: Any, values: Any, shape: tuple[int, int, int]) -> None:
        (x, w, y, sizes), (xv, x0, wv, w0, yv, y0, self.i, self.j, start, floor, sizev) = kinds, values
        super().__init__(context, b, x)
        self.R, self.K, self.S = shape
        self.rows = (self.R - 1) * self.S + self.K
        table = self.pointer(sizes, sizev, I64(0))
        (self.h, self.w, self.oh, self.ow, self.kw, ph, pw, self.d, self.q, step, turn) = (
            b.load(self.at(table, n)) for n in (H, W, OH, OW, KW, PH, PW, D, Q, STEP, TURN))
        self.top = b.sub(b.mul(self.i, I64(self.S)), ph)
        self.left = b.sub(b.mul(self.j, I64(self.S)), pw)
        self.right = self.sum(self.left, b.mul(b.sub(self.kw, I64(1)), self.d), I64(self.S * self.L))
        self.plane, self.step, self.turn = b.mul(self.h, self.w), step, turn
        self.x = self.pointer(x, xv, x0)
        self.y = self.pointer(y, yv, self.sum(y0, b.mul(self.i, self.ow), self.j))
        last = b.sub(b.mul(self.kw, I64(self.K)), I64(1))  # taps that are turned over begin at the last
        self.taps = self.pointer(w, wv, b.add(w0, b.select(b.icmp_signed("<", turn, I64(0)), last, I64(0))))
        self.start, self.floor = self.broadcast(start), self.broadcast(floor)
        ask(self, self.x, b.mul(self.i, I64(self.S)), self.w, self.j, self.R)
        ask(self, self.pointer(y, yv, y0), self.i, self.ow, self.j, self.R, write=True)

    def sum(self, *numbers: Any) -> Any:
        total, *rest = numbers
        for n in rest:
            total = self.b.add(total, n)
        return total

    def how(self) -> Any:
        """WHOLE, BETWEEN or ANY."""
        b, bottom, short = self.b, self.b.add(self.top, I64(self.rows)), I64(self.K - 1)

        def within(first: Any, last: Any, end: Any) -> Any:
            return b.and_(b.icmp_signed(">=", first, I64(0)), b.icmp_signed("<=", last, end))

        whole = b.and_(within(self.top, bottom, self.h), within(self.left, self.right, self.w))
        between = within(b.add(self.top, short), b.sub(bottom, short), self.h)
        return b.select(whole, I64(WHOLE), b.select(between, I64(BETWEEN), I64(ANY)))

    def emit(self, how: int) -> None:
        """The sums, and what becomes of them."""
        def plane(c: Any, acc: list) -> list:
            b = self.b
            x, taps = self.at(self.x, b.mul(c, self.plane)), self.at(self.taps, b.mul(c, self.step))
            rows = [b.add(self.top, I64(row)) for row in range(self.rows)]
            lines = [(self.at(x, b.mul(row, self.w)), b.icmp_unsigned("<", row, self.h)) for row in rows]
            return self.loop(self.kw, acc, partial(self.column, how, lines, taps))

        self.finish(self.loop(self.q, [self.start] * self.R, plane))

    def column(self, how: int, lines: list, taps: Any, k: Any, acc: list) -> list:
        """Column k of the taps meets the lines of x."""
        b, acc, none = self.b, list(acc), ir.Constant(self.mask, [0] * self.L)
        column = [self.broadcast(b.load(self.at(taps, b.mul(self.turn, b.add(b.mul(self.kw, I64(n)), k)))))
                  for n in range(self.K)]
        starts = [self.sum(self.left, b.mul(k, self.d), I64(v * self.L)) for v in range(self.S)]
        masks = [self.within(at, self.w) for at in starts]
        for row, (line, there) in enumerate(lines):
            if how == WHOLE:
                parts = [self.load(self.at(line, at)) for at in starts]
            else:
                sure = how == BETWEEN and self.K - 1 <= row <= self.rows - self.K
                parts = [self.masked_load(self.at(line, at), mask if sure else b.select(there, mask, none))
                         for at, mask in zip(starts, masks)]
            v = parts[0] if self.S == 1 else self.shuffle(parts[0], parts[1], list(range(0, 2 * self.L, 2)))
            for n, tap in enumerate(column):
                r, between = divmod(row - n, self.S)
                if not between and 0 <= r < self.R:
                    acc[r] = self.fma(tap, v, acc[r])
        return acc

    def finish(self, sums: list) -> None:
        """Clip, and store what lies in the plane."""
        b = self.b
        clipped = [self.raised(v, self.floor) for v in sums]
        to = [self.at(self.y, b.mul(self.ow, I64(r))) for r in range(self.R)]
        rows, columns = b.sub(self.oh, self.i), b.sub(self.ow, self.j)
        filled = b.and_(b.icmp_signed(">=", rows, I64(self.R)), b.icmp_signed(">=", columns, I64(self.L)))
        with b.if_else(filled) as (whole, part):
            with whole:
                for v, p in zip(clipped, to):
                    self.store(v, p)
            with part:
                for r, (v, p) in enumerate(zip(clipped, to)):
                    self.masked_store(v, p, self.first(b.select(b.icmp_signed(">", rows, I64(r)), columns, I64(0))))


@intrinsic
def column_tile(typingctx, R, K, S, x, x0, w, w0, y, y0, i, j, start, floor, sizes):
    """R rows of L neighbours of a plane, from (i, j) on: `floor` where the sum is less, NaN stays NaN.

                           x row 0   x row 1   x row 2   x row 3 ...
        y row 0            w[0]      w[1]      w[2]                      K = 3 taps of a column, stride S = 1
        y row 1                      w[0]      w[1]      w[2]
        y row 2                                w[0]      w[1]   ...

    R, K and S are literals. Planes begin at x[x0] and y[y0], the taps of the first channel at w[w0].
    """
    shape = R, K, S
    if not all(isinstance(n, types.IntegerLiteral) for n in shape):
        return None

    @outlined
    def codegen(context, b, sig, args):
        tile = ColumnTile(context, b, (x, w, y, sizes), args[3:], tuple(n.literal_value for n in shape))
        switch(b, tile.how(), [partial(tile.emit, how) for how in (WHOLE, BETWEEN, ANY)])
        return context.get_dummy_value()

    n = types.int64
    return types.void(*shape, x, n, w, n, y, n, n, n, x.dtype, x.dtype, sizes), codegen
