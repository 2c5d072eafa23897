"""The transforms of winograd.py and its product, emitted as vectors: one vector is L channels of one position.

    V = B' d B        U = G g G'        y = A' (U * V) A        d: (m+2, m+2) of x, g: (3, 3) of w, y: (m, m)
    Z = A dy A'       dg = G' (Z * V summed over tiles) G       for the weight gradient

The matrices are those of interpolation at 0, 1, -1 and infinity for m = 2, and at 2 and -2 besides for m = 4. Each is
written as the few operations that it takes on a row, and applied to the columns, then to the rows of what comes out.
Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016), section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

from llvmlite import ir
from numba import types

from ..emit import I64, Emitter, switch
from ..tile import CHANNEL_GROUPS, ChannelTile, intrinsic

SIZES = (2, 4)  # m, outputs a side; transforms are chosen by their place here
WIDEST = CHANNEL_GROUPS[0]  # tiles in one product
NARROWEST = max(WIDEST - 3, 1)


class Vectors:
    """Sums of vectors with constant factors."""

    def __init__(self, e: Emitter) -> None:
        self.e, self.b = e, e.b

    def times(self, factor: float, v: Any) -> Any:
        return self.b.fmul(self.constant(factor), v)

    def plus(self, v: Any, factor: float, by: Any) -> Any:
        """v + factor*by, rounded once."""
        if abs(factor) == 1:
            return self.b.fadd(v, by) if factor > 0 else self.b.fsub(v, by)
        return self.e.fma(self.constant(factor), by, v)

    def constant(self, factor: float) -> Any:
        return ir.Constant(self.e.vec, [factor] * self.e.L)


def data_2(s: Vectors, d: list) -> list:
    return [s.plus(d[0], -1, d[2]), s.plus(d[1], 1, d[2]), s.plus(d[2], -1, d[1]), s.plus(d[1], -1, d[3])]


def data_4(s: Vectors, d: list) -> list:
    even, odd = s.plus(d[4], -4, d[2]), s.plus(d[3], -4, d[1])
    wide, slope = s.plus(d[4], -1, d[2]), s.plus(d[3], -1, d[1])
    return [s.plus(s.plus(d[4], -5, d[2]), 4, d[0]), s.plus(even, 1, odd), s.plus(even, -1, odd),
            s.plus(wide, 2, slope), s.plus(wide, -2, slope), s.plus(s.plus(d[5], -5, d[3]), 4, d[1])]


def weights_2(s: Vectors, g: list) -> list:
    ends = s.plus(g[0], 1, g[2])
    return [g[0], s.times(1 / 2, s.plus(ends, 1, g[1])), s.times(1 / 2, s.plus(ends, -1, g[1])), g[2]]


def weights_4(s: Vectors, g: list) -> list:
    ends, steep = s.plus(g[0], 1, g[2]), s.plus(g[0], 4, g[2])
    return [s.times(1 / 4, g[0]), s.times(-1 / 6, s.plus(ends, 1, g[1])), s.times(-1 / 6, s.plus(ends, -1, g[1])),
            s.times(1 / 24, s.plus(steep, 2, g[1])), s.times(1 / 24, s.plus(steep, -2, g[1])), g[2]]


def result_2(s: Vectors, m: list) -> list:
    return [s.plus(s.plus(m[0], 1, m[1]), 1, m[2]), s.plus(s.plus(m[1], -1, m[2]), -1, m[3])]


def result_4(s: Vectors, m: list) -> list:
    near, far = s.plus(m[1], 1, m[2]), s.plus(m[3], 1, m[4])
    tilt, steep = s.plus(m[1], -1, m[2]), s.plus(m[3], -1, m[4])
    return [s.plus(s.plus(m[0], 1, near), 1, far), s.plus(tilt, 2, steep), s.plus(near, 4, far),
            s.plus(s.plus(tilt, 8, steep), 1, m[5])]


def gradient_2(s: Vectors, y: list) -> list:
    return [y[0], s.plus(y[0], 1, y[1]), s.plus(y[0], -1, y[1]), s.times(-1, y[1])]


def gradient_4(s: Vectors, y: list) -> list:
    even, odd = s.plus(y[0], 1, y[2]), s.plus(y[1], 1, y[3])
    far, steep = s.plus(y[0], 4, y[2]), s.plus(y[1], 4, y[3])
    return [y[0], s.plus(even, 1, odd), s.plus(even, -1, odd), s.plus(far, 2, steep), s.plus(far, -2, steep), y[3]]


def weight_gradient_2(s: Vectors, u: list) -> list:
    near, tilt = s.plus(u[1], 1, u[2]), s.plus(u[1], -1, u[2])
    return [s.plus(u[0], 1 / 2, near), s.times(1 / 2, tilt), s.plus(u[3], 1 / 2, near)]


def weight_gradient_4(s: Vectors, u: list) -> list:
    near, tilt = s.plus(u[1], 1, u[2]), s.plus(u[1], -1, u[2])
    far, steep = s.plus(u[3], 1, u[4]), s.plus(u[3], -1, u[4])
    return [s.plus(s.plus(s.times(1 / 4, u[0]), -1 / 6, near), 1 / 24, far),
            s.plus(s.times(-1 / 6, tilt), 1 / 12, steep), s.plus(s.plus(u[5], -1 / 6, near), 1 / 6, far)]


def twice(s: Vectors, rule: Callable[[Vectors, list], list], square: list[list]) -> list[list]:
    """The rule on every column of a square of vectors, then on every row."""
    columns = [rule(s, list(column)) for column in zip(*square)]
    return [rule(s, list(row)) for row in zip(*columns)]


@intrinsic
def data_transform(typingctx, size, src, s0, row, step, dst, d0, apart):
    """V of one tile, m = SIZES[size]: src[s0 + i*row + j*step : + L] for i, j < m+2 to dst[d0 + f*apart : + L]."""
    def codegen(context, b, sig, args):
        number, sv, s0v, rowv, stepv, dv, d0v, apartv = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def emit(m, rule):
            lines = [e.at(sp, b.mul(rowv, ir.Constant(I64, i))) for i in range(m + 2)]
            square = [[e.load(e.at(line, b.mul(stepv, ir.Constant(I64, j)))) for j in range(m + 2)] for line in lines]
            for f, v in enumerate(chain(*twice(Vectors(e), rule, square))):
                e.store(v, e.at(dp, b.mul(apartv, ir.Constant(I64, f))))

        switch(b, number, [partial(emit, 2, data_2), partial(emit, 4, data_4)])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, i, dst, i, i), codegen


@intrinsic
def weight_transform(typingctx, size, src, s0, step, dst, d0, apart):
    """U of one input channel: src[s0 + k*step : + L] for the 9 taps k to dst[d0 + f*apart : + L]."""
    def codegen(context, b, sig, args):
        number, sv, s0v, stepv, dv, d0v, apartv = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def emit(rule):
            taps = [e.load(e.at(sp, b.mul(stepv, ir.Constant(I64, k)))) for k in range(9)]
            for f, v in enumerate(chain(*twice(Vectors(e), rule, [taps[:3], taps[3:6], taps[6:]]))):
                e.store(v, e.at(dp, b.mul(apartv, ir.Constant(I64, f))))

        switch(b, number, [partial(emit, weights_2), partial(emit, weights_4)])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, dst, i, i), codegen


@intrinsic
def gradient_transform(typingctx, size, src, s0, row, step, dst, d0, apart):
    """Z of one tile: src[s0 + i*row + j*step : + L] for i, j < m to dst[d0 + f*apart : + L]."""
    def codegen(context, b, sig, args):
        number, sv, s0v, rowv, stepv, dv, d0v, apartv = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def emit(m, rule):
            lines = [e.at(sp, b.mul(rowv, ir.Constant(I64, i))) for i in range(m)]
            square = [[e.load(e.at(line, b.mul(stepv, ir.Constant(I64, j)))) for j in range(m)] for line in lines]
            for f, v in enumerate(chain(*twice(Vectors(e), rule, square))):
                e.store(v, e.at(dp, b.mul(apartv, ir.Constant(I64, f))))

        switch(b, number, [partial(emit, 2, gradient_2), partial(emit, 4, gradient_4)])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, i, dst, i, i), codegen


@intrinsic
def weight_gradient_transform(typingctx, size, src, s0, apart, dst, d0, step):
    """dg of one input channel: src[s0 + f*apart : + L] to dst[d0 + k*step : + L] for the 9 taps k."""
    def codegen(context, b, sig, args):
        number, sv, s0v, apartv, dv, d0v, stepv = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def emit(m, rule):
            side = m + 2
            sums = [e.load(e.at(sp, b.mul(apartv, ir.Constant(I64, f)))) for f in range(side * side)]
            for k, v in enumerate(chain(*twice(Vectors(e), rule, [sums[i * side:][:side] for i in range(side)]))):
                e.store(v, e.at(dp, b.mul(stepv, ir.Constant(I64, k))))

        switch(b, number, [partial(emit, 2, weight_gradient_2), partial(emit, 4, weight_gradient_4)])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, dst, i, i), codegen


@intrinsic
def result_transform(typingctx, size, src, s0, apart, bias, b0, relu, dst, d0, row, step, columns):
    """y of one tile from src[s0 + f*apart : + L], plus bias[b0 : + L], to dst[d0 + i*row + j*step : + L], i < m, j < columns.

    Negative ones as 0 where relu is not 0; NaN stays NaN.
    """
    def codegen(context, b, sig, args):
        number, sv, s0v, apartv, bv, b0v, reluv, dv, d0v, rowv, stepv, columnv = args
        e = Emitter(context, b, src)
        sp, dp, plus = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v), e.load(e.pointer(bias, bv, b0v))
        rectify = b.icmp_signed("!=", reluv, ir.Constant(I64, 0))
        floor = e.broadcast(b.select(rectify, ir.Constant(e.elt, 0.0), ir.Constant(e.elt, float("-inf"))))

        def emit(m, rule):
            side = m + 2
            sums = [e.load(e.at(sp, b.mul(apartv, ir.Constant(I64, f)))) for f in range(side * side)]
            square = twice(Vectors(e), rule, [sums[i * side:][:side] for i in range(side)])
            for j in range(m):
                with b.if_then(b.icmp_signed("<", ir.Constant(I64, j), columnv)):
                    for i in range(m):
                        v = b.fadd(square[i][j], plus)
                        v = b.select(b.fcmp_ordered("<", v, floor), floor, v)
                        to = b.add(b.mul(rowv, ir.Constant(I64, i)), b.mul(stepv, ir.Constant(I64, j)))
                        e.store(v, e.at(dp, to))

        switch(b, number, [partial(emit, 2, result_2), partial(emit, 4, result_4)])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, bias, i, i, dst, i, i, i, i), codegen


@intrinsic
def product_tile(typingctx, tiles, x, bases, offs, T, w, w0, out, s0):
    """out[s0 + p*2L : + 2L] = sum over t < T of x[bases[p] + offs[t]] * w[w0 + t*2L : + 2L], p < tiles.

    `tiles` is NARROWEST to WIDEST; the sums stay in registers, as those of a channel tile.
    """
    def codegen(context, b, sig, args):
        number, xv, basev, offv, tv, wv, w0v, outv, s0v = args
        e, zero = Emitter(context, b, x), ir.Constant(I64, 0)
        to = e.pointer(out, outv, s0v)
        ends = (e.pointer(x, xv, zero), e.pointer(bases, basev, zero), e.pointer(offs, offv, zero), tv,
                e.pointer(w, wv, w0v))

        def emit(tiles):
            for n, v in enumerate(ChannelTile(e, (2, tiles, 1), *ends).run([e.zero] * (2 * tiles))):
                e.store(v, e.at(to, n * e.L))

        switch(b, b.sub(number, ir.Constant(I64, NARROWEST)), [partial(emit, n) for n in range(NARROWEST, WIDEST + 1)])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, x, bases, offs, i, w, i, out, i), codegen
