"""The register tiles of linear.py, and the drivers that walk them: a block of sums stays in registers.

    y[n, o] = sum over i  x[n, i] * w[o, i]      P images x R rows of w, both as vectors; their lanes are added up at the end
    x[n, i] = sum over o  y[n, o] * w[o, i]      P scalars of y  x  V vectors of a row of w
    w[o, i] = sum over n  y[n, o] * x[n, i]      R scalars of y  x  V vectors of x

P is a literal: a tile is compiled for the batch that meets it, on first use. Beyond the last image or row comes the last one
again, and is stored again. A driver does the share of one of so many threads, cut by what is owned: the order of a sum knows
no thread. All have one signature, so that `share` is compiled once for them.
Read next: emit.py, what tiles are written in.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as numba_intrinsic

from . import host
from .emit import I64, Emitter, lanes
from .jit import njit

intrinsic: Any = numba_intrinsic(prefer_literal=True)  # called from compiled code without its first argument
SUMS = 20 if host.REGISTERS >= 32 else 10  # of a tile: with what they are made of they fit the registers
WIDEST = 8  # rows, or vectors, of a tile
NEAR = 25600  # bytes of images that lie in the first-level cache while weights pass
HIGH = 64  # rows of w that an input-gradient tile walks at a time, and asks the caches for the next one's
GRADIENT = (4, 4) if host.REGISTERS >= 32 else (4, 2)  # rows and vectors of a weight-gradient tile
STRETCHES, TALL = 2, 256  # of the rows of an input gradient, where there are so many rows
LONG = 512  # columns of x that lie in the first-level cache while rows of w are made of them


def images(N: int) -> int:
    """Of a tile: with two vectors each their sums fill the registers, and N is cut evenly."""
    parts = -(-N // (SUMS // 2))
    return -(-N // parts)


def width(P: int, itemsize: int) -> int:
    """Rows or vectors of a tile of P images: a power of two, no more than a vector has lanes."""
    most = min(SUMS // P, WIDEST, lanes(itemsize))
    return 1 << max(most.bit_length() - 1, 0)


def stretches(O: int) -> int:
    """Of rows of w in an input gradient, each with a sum of its own.

    Two threads then read the rows that the weight gradient and the update had them write: cut by columns, each would take
    half of w out of the other core's cache, and give it back in the update.
    """
    return STRETCHES if O >= TALL else 1


def depth(P: int, I: int, itemsize: int) -> int:
    """Numbers of a row that a forward tile of P images walks at a time: I is cut evenly."""
    L = lanes(itemsize)
    parts = -(-I * P * itemsize // NEAR)
    return -(-I // parts // L) * L


@njit(inner=True)
def forward(k, workers, P, x, w, bias, held, y, floor, N, I, O, R):
    """y: a share is some tiles of R rows of w. Sums begin at the bias, those of a later part of long rows at y.

    held: some `depth` numbers of x as the tiles read them, (N / P, depth / L, P, L), for each thread.
    """
    tiles, size = (O + R - 1) // R, held.shape[0] // workers
    depth = size // ((N + P - 1) // P * P)
    for i in range(0, I, depth):
        deep = min(depth, I - i)
        for n in range(0, N, P):
            pack_images(P, x, n * I + i, N - n, I, deep, held, k * size + n * depth)
        start, step = (bias, 0) if i == 0 else (y, O)
        low = floor if i + depth >= I else y.dtype.type(-np.inf)
        for t in range(tiles * k // workers, tiles * (k + 1) // workers):
            o = t * R
            for n in range(0, N, P):
                forward_tile(P, held, k * size + n * depth, w, o * I + i, O - o, I, deep, N - n, start, n * step + o, step,
                             y, n * O + o, O, low)


@njit(inner=True)
def input_grad(k, workers, P, y, w, start, held, x, floor, N, I, O, width):
    """x, as a sum for each stretch of rows of w: a share is some tiles of `width` columns of some stretches, whose sums lie in
    x between blocks of rows."""
    tiles, stretches = (I + width - 1) // width, x.size // (N * I)
    first, last = stretches * tiles * k // workers, stretches * tiles * (k + 1) // workers
    for s in range(first // tiles, (last + tiles - 1) // tiles):
        begin, end = O * s // stretches, O * (s + 1) // stretches
        for o in range(begin, end, HIGH):
            for t in range(max(first - s * tiles, 0), min(last - s * tiles, tiles)):
                i = t * width
                for n in range(0, N, P):
                    input_grad_tile(P, y, n * O + o, N - n, O, w, o * I + i, I, min(HIGH, end - o), x, (s * N + n) * I + i,
                                    I - i, o - begin)


@njit
def add_up(parts, x):
    """x: the sums of all stretches, in their order."""
    for i in range(x.size):
        x[np.uintp(i)] = parts[np.uintp(i)]
    for s in range(1, parts.size // x.size):
        for i in range(x.size):
            x[np.uintp(i)] += parts[np.uintp(s * x.size + i)]


@njit(inner=True)
def weight_grad(k, workers, P, x, y, start, held, w, floor, N, I, O, width):
    """w: a share is some rows, a tile four of them by `width` columns."""
    first, last = O * k // workers, O * (k + 1) // workers
    for begin in range(0, I, LONG):
        for o in range(first, last, GRADIENT[0]):
            for i in range(begin, min(begin + LONG, I), width):
                weight_grad_tile(N, x, i, I, y, o, O, last - o, w, o * I + i, I - i)


@intrinsic
def pack_images(typingctx, P, x, x0, some, I, depth, out, out0):
    """`depth` numbers of P images, of which there are `some`, as (depth / L, P, L); beyond the last number zeros."""
    if not isinstance(P, types.IntegerLiteral):
        return None

    def codegen(context, b, sig, args):
        _, xv, x0v, somev, Iv, deepv, outv, out0v = args
        e, np_ = Emitter(context, b, x), P.literal_value
        xs = [e.at(e.pointer(x, xv, x0v), b.mul(_least(b, n, somev), Iv)) for n in range(np_)]
        to, wide = e.pointer(out, outv, out0v), ir.Constant(I64, e.L)

        def body(t, none):
            at = b.mul(t, wide)
            mask, line = e.first(b.sub(deepv, at)), e.at(to, b.mul(at, ir.Constant(I64, np_)))
            for n, p in enumerate(xs):
                e.store(e.masked_load(e.at(p, at), mask), e.at(line, n * e.L))
            return []

        e.loop(b.sdiv(b.add(deepv, ir.Constant(I64, e.L - 1)), wide), [], body)
        return context.get_dummy_value()

    i = types.int64
    return types.void(P, x, i, i, i, i, out, i), codegen


@intrinsic
def forward_tile(typingctx, P, x, x0, w, w0, rows, I, depth, some, start, s0, sstep, y, y0, O, floor):
    """P images, as pack_images leaves them, x `rows` of R rows of w, over `depth` numbers of each: of `some` images the sum of
    image n, row r begins at start[s0 + n*sstep + r] and goes to y[y0 + n*O + r], `floor` where it is less; NaN stays NaN."""
    if not isinstance(P, types.IntegerLiteral):
        return None

    def codegen(context, b, sig, args):
        _, xv, x0v, wv, w0v, rowv, Iv, deepv, somev, sv, s0v, sstepv, yv, y0v, Ov, floorv = args
        e, np_ = Emitter(context, b, x), P.literal_value
        nr, wide = width(np_, e.size), ir.Constant(I64, e.L)
        there, xp = [_least(b, n, somev) for n in range(np_)], e.pointer(x, xv, x0v)
        ws = [e.at(e.pointer(w, wv, w0v), b.mul(_least(b, r, rowv), Iv)) for r in range(nr)]
        whole, rest, ahead = b.sdiv(deepv, wide), b.srem(deepv, wide), b.mul(Iv, ir.Constant(I64, nr))
        mask, some_rest = e.first(rest), b.zext(b.icmp_signed(">", rest, ir.Constant(I64, 0)), I64)

        def body(t, acc, load, first):
            at = b.mul(b.add(first, t), wide)
            rows, new, line = [load(e.at(p, at)) for p in ws], [], e.at(xp, b.mul(at, ir.Constant(I64, np_)))
            for p in ws:
                e.prefetch(e.at(p, b.add(at, ahead)))
            for n in range(np_):
                v = e.load(e.at(line, n * e.L))
                new += [e.fma(v, row, acc[n * nr + r]) for r, row in enumerate(rows)]
            return new

        sums = [e.zero] * (np_ * nr)
        sums = e.loop(whole, sums, partial(body, load=e.load, first=ir.Constant(I64, 0)))
        sums = e.loop(some_rest, sums, partial(body, load=lambda p: e.masked_load(p, mask), first=whole))
        sp, yp = e.pointer(start, sv, s0v), e.pointer(y, yv, y0v)
        valid, low = e.first(_least(b, nr, rowv, 0)), e.broadcast(floorv)
        first = [e.masked_load(e.at(sp, b.mul(n, sstepv)), valid) for n in there]
        for j in range(0, np_ * nr, e.L):
            v = e.abreast(sums[j:j + e.L])
            for n in range(j // nr, min((j + e.L) // nr, np_)):
                lanes = [(n * nr - j + i) % e.L for i in range(e.L)]
                total = b.fadd(e.shuffle(v, v, lanes), first[n])
                e.masked_store(e.raised(total, low), e.at(yp, b.mul(there[n], Ov)), valid)
        return context.get_dummy_value()

    i = types.int64
    return types.void(P, x, i, w, i, i, i, i, i, start, i, i, y, i, i, x.dtype), codegen


@intrinsic
def input_grad_tile(typingctx, P, y, y0, some, O, w, w0, I, rows, x, x0, columns, adds):
    """`some` of P images x `columns` of V*L columns of so many rows of w; image n is stored at x[x0 + n*I : + V*L], or added
    to what lies there if `adds` is not 0."""
    if not isinstance(P, types.IntegerLiteral):
        return None

    def codegen(context, b, sig, args):
        _, yv, y0v, somev, Ov, wv, w0v, Iv, rowv, xv, x0v, columnv, addv = args
        e, np_ = Emitter(context, b, y), P.literal_value
        nv, zero = width(np_, e.size), ir.Constant(I64, 0)
        there = [_least(b, n, somev) for n in range(np_)]
        ys = [e.at(e.pointer(y, yv, y0v), b.mul(n, Ov)) for n in there]
        xs = [e.at(e.pointer(x, xv, x0v), b.mul(n, Iv)) for n in there]
        wp = e.pointer(w, wv, w0v)
        masks = [e.first(b.sub(columnv, ir.Constant(I64, v * e.L))) for v in range(nv)]
        old = [e.first(b.select(b.icmp_signed("==", addv, zero), zero, b.sub(columnv, ir.Constant(I64, v * e.L))))
               for v in range(nv)]
        start = [e.masked_load(e.at(p, v * e.L), old[v]) for p in xs for v in range(nv)]

        def emit(load, store):
            def body(o, acc):
                row, new = e.at(wp, b.mul(o, Iv)), []
                ws = [load(e.at(row, v * e.L), masks[v]) for v in range(nv)]
                for v in range(nv):
                    e.prefetch(e.at(row, (nv + v) * e.L))
                for n, p in enumerate(ys):
                    s = e.broadcast(b.load(e.at(p, o)))
                    new += [e.fma(s, ws[v], acc[n * nv + v]) for v in range(nv)]
                return new

            for i, v in enumerate(e.loop(rowv, start, body)):
                store(v, e.at(xs[i // nv], i % nv * e.L), masks[i % nv])

        _whole_or_part(e, columnv, nv, emit)
        return context.get_dummy_value()

    i = types.int64
    return types.void(P, y, i, i, i, w, i, i, i, x, i, i, i), codegen


@intrinsic
def weight_grad_tile(typingctx, N, x, x0, I, y, y0, O, rows, w, w0, columns):
    """`rows` of R rows of w, `columns` of V*L columns of each, (R, V) = GRADIENT.

    w[w0 + r*I : + V*L] = sum over n of y[y0 + n*O + r] * x[x0 + n*I : + V*L]
    """
    def codegen(context, b, sig, args):
        Nv, xv, x0v, Iv, yv, y0v, Ov, rowv, wv, w0v, columnv = args
        e, (nr, nv) = Emitter(context, b, x), GRADIENT
        xp, yp, wp = (e.pointer(a, v, at) for a, v, at in ((x, xv, x0v), (y, yv, y0v), (w, wv, w0v)))
        there = [_least(b, r, rowv) for r in range(nr)]
        masks = [e.first(b.sub(columnv, ir.Constant(I64, v * e.L))) for v in range(nv)]

        def emit(load, store):
            def body(n, acc):
                xs, new = e.at(xp, b.mul(n, Iv)), []
                vs, ys = [load(e.at(xs, v * e.L), masks[v]) for v in range(nv)], e.at(yp, b.mul(n, Ov))
                for r, o in enumerate(there):
                    s = e.broadcast(b.load(e.at(ys, o)))
                    new += [e.fma(s, v, acc[r * nv + i]) for i, v in enumerate(vs)]
                return new

            for i, v in enumerate(e.loop(Nv, [e.zero] * (nr * nv), body)):
                store(v, e.at(wp, b.add(b.mul(there[i // nv], Iv), ir.Constant(I64, i % nv * e.L))), masks[i % nv])

        _whole_or_part(e, columnv, nv, emit)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, x, i, i, y, i, i, i, w, i, i), codegen


def _least(b, number, count, less=1):
    """The smaller one of `number`, and of `count` - `less`."""
    number, last = ir.Constant(I64, number), b.sub(count, ir.Constant(I64, less))
    return b.select(b.icmp_signed("<", number, last), number, last)


def _whole_or_part(e, columns, vectors, emit):
    """emit(load, store): of whole vectors, or of the lanes that a mask has."""
    with e.b.if_else(e.b.icmp_signed(">=", columns, ir.Constant(I64, vectors * e.L))) as (whole, part):
        with whole:
            emit(lambda p, mask: e.load(p), lambda v, p, mask: e.store(v, p))
        with part:
            emit(e.masked_load, e.masked_store)
