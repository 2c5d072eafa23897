"""The transforms of winograd.py and its product, emitted as vectors: one vector is L channels of one position.

    V = B' d B        U = G g G'        y = A' (U * V) A        d: (n, n) of x, g: (k, k) of w, y: (m, m), n = m + k - 1
    Z = A dy A'       dg = G' (Z * V summed over tiles) G       dd = B (U * Z) B'      for the gradients

Along an axis a tile of y is the product of two polynomials, known from its values at n points: at infinity and at 0, 1, -1,
2, -2, 1/2, -1/2, as many as it takes. G evaluates the taps, A' and B' are what interpolation makes of it turned over. At a
pair of points p and -p the even powers agree and the odd ones differ in sign, so their rows cost little more than one.
Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016), section 4; for the matrices of any size,
Blahut, "Fast Algorithms for Signal Processing" (2010), chapter 5.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import chain
from typing import Any

from llvmlite import ir
from numba import types

from .. import host
from ..emit import I64, Emitter, outlined, switch
from ..tile import intrinsic

SIZES = ((2, 3), (4, 3), (2, 5), (4, 5))  # (m, k), outputs and taps a side; transforms are chosen by their place here
POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-2", "1/2", "-1/2")))
ROWS = {1: 14, 2: 12, 3: 8} if host.REGISTERS >= 32 else {1: 8, 2: 6, 3: 4}  # R vectors: as many rows as sums fit the registers
PRODUCTS = tuple((R, rows + 1) for R, most in ROWS.items() for rows in range(most))  # (R, rows)
Matrix = list[list[Fraction]]


def matrices(m: int, k: int) -> tuple[Matrix, Matrix, Matrix]:
    """A (n, m), G (n, k) and B' (n, n): a row for each point, infinity the last.

    For g of k taps and d of n cells, A' [(G g) * (B' d)] is sum over t of g[t] * d[i + t], i < m.
    """
    points = POINTS[:m + k - 2]
    outputs = [[p**i for i in range(m)] for p in points] + [[Fraction(i == m - 1) for i in range(m)]]
    taps, data = [], []
    for p in points:
        others = [q for q in points if q != p]
        scale = product([[p - q] for q in others])[0]
        taps.append([p**t / scale for t in range(k)])
        data.append([*product([[-q, Fraction(1)] for q in others]), Fraction(0)])
    taps.append([Fraction(t == k - 1) for t in range(k)])
    data.append(product([[-q, Fraction(1)] for q in points]))
    return outputs, taps, data


def product(factors: list[list[Fraction]]) -> list[Fraction]:
    """The coefficients of a product of polynomials, the constant first."""
    out = [Fraction(1)]
    for factor in factors:
        out = [sum((factor[j] * out[i - j] for j in range(len(factor)) if 0 <= i - j < len(out)), Fraction(0))
               for i in range(len(out) + len(factor) - 1)]
    return out


class Vectors:
    """Products of constant matrices, whose rows are the points, with vectors."""

    def __init__(self, e: Emitter) -> None:
        self.e, self.b = e, e.b

    def plus(self, v: Any, factor: Fraction | int, by: Any) -> Any:
        """v + factor*by, rounded once."""
        if abs(factor) == 1:
            return self.b.fadd(v, by) if factor > 0 else self.b.fsub(v, by)
        return self.e.fma(self.constant(factor), by, v)

    def constant(self, factor: Fraction | int) -> Any:
        return ir.Constant(self.e.vec, [float(factor)] * self.e.L)

    def sum(self, factors: list[Fraction], vectors: list[Any]) -> Any:
        """The sum of factors times vectors, which begins where the factor is 1 if there is one."""
        terms = sorted(((f, v) for f, v in zip(factors, vectors) if f), key=lambda term: term[0] != 1)
        f, out = terms[0]
        if f != 1:
            out = self.b.fmul(self.constant(f), out)
        for f, v in terms[1:]:
            out = self.plus(out, f, v)
        return out

    def at_points(self, matrix: Matrix, d: list) -> list:
        """matrix times d: even and odd columns once for both points of a pair."""
        out = [self.sum(matrix[0], d)]
        for row in matrix[1:-1:2]:
            even, odd = self.sum(row[::2], d[::2]), row[1::2]
            largest = max(odd, key=abs)
            slope = self.sum([f / largest for f in odd], d[1::2])
            out += [self.plus(even, largest, slope), self.plus(even, -largest, slope)]
        return [*out, self.sum(matrix[-1], d)]

    def from_points(self, matrix: Matrix, u: list) -> list:
        """matrix turned over times u: sums of a pair for the even columns, differences for the odd."""
        pairs = [(self.plus(p, 1, n), self.plus(p, -1, n)) for p, n in zip(u[1:-1:2], u[2:-1:2])]
        return [self.sum([matrix[0][i], *(row[i] for row in matrix[1:-1:2]), matrix[-1][i]],
                         [u[0], *(pair[i % 2] for pair in pairs), u[-1]]) for i in range(len(matrix[0]))]


def twice(rule: Callable[[Matrix, list], list], matrix: Matrix, square: list[list]) -> list[list]:
    """The rule on every column of a square of vectors, then on every row."""
    columns = [rule(matrix, list(column)) for column in zip(*square)]
    return [rule(matrix, list(row)) for row in zip(*columns)]


def sizes(emit: Callable[..., None]) -> list[Callable[[], None]]:
    """emit(m, k, A, G, B') of each of SIZES, for a switch."""
    return [partial(emit, m, k, *matrices(m, k)) for m, k in SIZES]


@intrinsic
def data_transform(typingctx, size, src, s0, row, step, dst, d0, apart):
    """V of one tile, (m, k) = SIZES[size]: src[s0 + i*row + j*step : + L] for i, j < n to dst[d0 + f*apart : + L]."""
    @outlined
    def codegen(context, b, sig, args):
        number, sv, s0v, rowv, stepv, dv, d0v, apartv = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def emit(m, k, outputs, taps, data):
            lines = [e.at(sp, b.mul(rowv, ir.Constant(I64, i))) for i in range(len(data))]
            square = [[e.load(e.at(line, b.mul(stepv, ir.Constant(I64, j)))) for j in range(len(data))] for line in lines]
            for f, v in enumerate(chain(*twice(Vectors(e).at_points, data, square))):
                e.store(v, e.at(dp, b.mul(apartv, ir.Constant(I64, f))))

        switch(b, number, sizes(emit))
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, i, dst, i, i), codegen


@intrinsic
def weight_transform(typingctx, size, src, s0, step, dst, d0, apart):
    """U of one input channel: src[s0 + t*step : + L] for the k*k taps t to dst[d0 + f*apart : + L]."""
    @outlined
    def codegen(context, b, sig, args):
        number, sv, s0v, stepv, dv, d0v, apartv = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def emit(m, k, outputs, taps, data):
            w = [e.load(e.at(sp, b.mul(stepv, ir.Constant(I64, t)))) for t in range(k * k)]
            for f, v in enumerate(chain(*twice(Vectors(e).at_points, taps, [w[i * k:][:k] for i in range(k)]))):
                e.store(v, e.at(dp, b.mul(apartv, ir.Constant(I64, f))))

        switch(b, number, sizes(emit))
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, dst, i, i), codegen


@intrinsic
def gradient_transform(typingctx, size, src, s0, row, step, dst, d0, apart):
    """Z of one tile: src[s0 + i*row + j*step : + L] for i, j < m to dst[d0 + f*apart : + L]."""
    @outlined
    def codegen(context, b, sig, args):
        number, sv, s0v, rowv, stepv, dv, d0v, apartv = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def emit(m, k, outputs, taps, data):
            lines = [e.at(sp, b.mul(rowv, ir.Constant(I64, i))) for i in range(m)]
            square = [[e.load(e.at(line, b.mul(stepv, ir.Constant(I64, j)))) for j in range(m)] for line in lines]
            for f, v in enumerate(chain(*twice(Vectors(e).at_points, outputs, square))):
                e.store(v, e.at(dp, b.mul(apartv, ir.Constant(I64, f))))

        switch(b, number, sizes(emit))
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, i, dst, i, i), codegen


@intrinsic
def weight_gradient_transform(typingctx, size, src, s0, apart, dst, d0, step):
    """dg of one input channel: src[s0 + f*apart : + L] to dst[d0 + t*step : + L] for the k*k taps t."""
    @outlined
    def codegen(context, b, sig, args):
        number, sv, s0v, apartv, dv, d0v, stepv = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def emit(m, k, outputs, taps, data):
            n = len(data)
            sums = [e.load(e.at(sp, b.mul(apartv, ir.Constant(I64, f)))) for f in range(n * n)]
            for t, v in enumerate(chain(*twice(Vectors(e).from_points, taps, [sums[i * n:][:n] for i in range(n)]))):
                e.store(v, e.at(dp, b.mul(stepv, ir.Constant(I64, t))))

        switch(b, number, sizes(emit))
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, dst, i, i), codegen


@intrinsic
def result_transform(typingctx, size, src, s0, apart, bias, b0, relu, dst, d0, row, step, columns):
    """y of one tile from src[s0 + f*apart : + L], plus bias[b0 : + L], to dst[d0 + i*row + j*step : + L], i < m, j < columns.

    Negative ones as 0 where relu is not 0; NaN stays NaN.
    """
    @outlined
    def codegen(context, b, sig, args):
        number, sv, s0v, apartv, bv, b0v, reluv, dv, d0v, rowv, stepv, columnv = args
        e = Emitter(context, b, src)
        sp, dp, plus = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v), e.load(e.pointer(bias, bv, b0v))
        rectify = b.icmp_signed("!=", reluv, ir.Constant(I64, 0))
        floor = e.broadcast(b.select(rectify, ir.Constant(e.elt, 0.0), ir.Constant(e.elt, float("-inf"))))

        def emit(m, k, outputs, taps, data):
            n = len(data)
            sums = [e.load(e.at(sp, b.mul(apartv, ir.Constant(I64, f)))) for f in range(n * n)]
            square = twice(Vectors(e).from_points, outputs, [sums[i * n:][:n] for i in range(n)])
            for j in range(m):
                with b.if_then(b.icmp_signed("<", ir.Constant(I64, j), columnv)):
                    for i in range(m):
                        v = b.fadd(square[i][j], plus)
                        v = e.raised(v, floor)
                        to = b.add(b.mul(rowv, ir.Constant(I64, i)), b.mul(stepv, ir.Constant(I64, j)))
                        e.store(v, e.at(dp, to))

        switch(b, number, sizes(emit))
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, bias, i, i, dst, i, i, i, i), codegen


@intrinsic
def add_transform(typingctx, size, src, s0, apart, dst, d0, row, step):
    """B M B' of one tile from src[s0 + f*apart : + L], added to dst[d0 + i*row + j*step : + L], i, j < n."""
    @outlined
    def codegen(context, b, sig, args):
        number, sv, s0v, apartv, dv, d0v, rowv, stepv = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def emit(m, k, outputs, taps, data):
            n = len(data)
            sums = [e.load(e.at(sp, b.mul(apartv, ir.Constant(I64, f)))) for f in range(n * n)]
            for i, line in enumerate(twice(Vectors(e).from_points, data, [sums[i * n:][:n] for i in range(n)])):
                for j, v in enumerate(line):
                    to = e.at(dp, b.add(b.mul(rowv, ir.Constant(I64, i)), b.mul(stepv, ir.Constant(I64, j))))
                    e.store(b.fadd(e.load(to), v), to)

        switch(b, number, sizes(emit))
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, dst, i, i, i), codegen


def _product(neighbours: bool, adds: bool) -> Any:
    """The product (rows, T) x (T, R*L) of a tile, (R, rows) = PRODUCTS[shape]; its sums stay in registers.

        out[s0 + (i*R + r)*L : + L]  =  or +=  sum over t < T of x[x0 + offs[t] + i*step] * w[w0 + r*apart + t*after : + L]

    Rows i are neighbours in x (step = 1) or vectors (step = L).
    """
    def product(typingctx, shape, x, x0, offs, T, w, w0, apart, after, out, s0):
        def codegen(context, b, sig, args):
            number, xv, x0v, offv, tv, wv, w0v, apartv, afterv, outv, s0v = args
            e = Emitter(context, b, x)
            xp, op, wp, to = (e.pointer(a, v, at) for a, v, at in (
                (x, xv, x0v), (offs, offv, ir.Constant(I64, 0)), (w, wv, w0v), (out, outv, s0v)))

            def emit(nr, rows):
                vectors = [e.at(wp, b.mul(apartv, ir.Constant(I64, r))) for r in range(nr)]

                def body(t, acc):
                    here, along, new = e.at(xp, b.load(e.at(op, t))), b.mul(t, afterv), []
                    ws = [e.load(e.at(vector, along)) for vector in vectors]
                    for i in range(rows):
                        s = e.broadcast(b.load(e.at(here, i if neighbours else i * e.L)))
                        new += [e.fma(s, w, acc[i * nr + r]) for r, w in enumerate(ws)]
                    return new

                if not adds:
                    for n in range(nr * rows):
                        e.prefetch(e.at(to, n * e.L), write=True)
                start = [e.load(e.at(to, n * e.L)) if adds else e.zero for n in range(nr * rows)]
                for n, v in enumerate(e.loop(tv, start, body)):
                    e.store(v, e.at(to, n * e.L))

            switch(b, number, [partial(emit, *shape) for shape in PRODUCTS])
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, x, i, offs, i, w, i, i, i, out, i), codegen

    return intrinsic(product)


product_tile = _product(neighbours=False, adds=False)  # rows: tiles of one frequency and vector of channels; t: channels
add_product_tile = _product(neighbours=True, adds=True)  # rows: channels of a vector; t: tiles
