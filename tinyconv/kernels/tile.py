"""Register tiles: the inner loops of convolution, emitted as LLVM vectors through Numba.

A tile keeps a block of sums in vector registers and walks a table of offsets; what it reads per step is what must be
loaded, what it multiplies is the outer product of what it read:

    row_tile      R vectors of positions  x  K scalars of weights       few output channels, wide rows
    channel_tile  R vectors of channels   x  P*G scalars of positions   many channels, maps of any size
    dot_tile      K rows of y  x  P rows of x, both vectors             weight gradients of few channels

Each comes in a small fixed set of sizes, compiled together and chosen by number, so that a new problem is only another
table. Vectors have the host's width (host.py). Nothing here checks bounds: plans are made so that none is crossed.
Read next: emit.py, what they are written in; conv/simd.py, which tile is used for what.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as numba_intrinsic

from . import host
from .emit import I64, Emitter, outlined, switch

intrinsic: Any = numba_intrinsic  # called from compiled code without its first argument

# The sizes of the tiles. All sums of a tile, the vectors it has read and one scalar must fit the registers, and there
# must be 8 sums or more, or each multiply-add waits for the one before it (4 cycles, two of them a cycle). Pointers must fit
# the 16 integer registers: with ten of x, or nine of x and y, some lie on the stack, for a third of the time.
if host.REGISTERS >= 32:
    ROW_TILES: tuple[tuple[int, int], ...] = (  # (R, K)
        (8, 1), (8, 2), (6, 3), (6, 4), (4, 5), (4, 6), (3, 7), (3, 8), (2, 10), (2, 12), (1, 16), (1, 20))
    CHANNEL_GROUPS: tuple[int, ...] = (9, 6, 4, 3, 2, 2, 2)  # P for G = 1, 2, ...
    WHOLE_ROWS: tuple[int, ...] = (13,)  # G with P = 1, for rows that groups of 7 would cover with an overlap
    DOT_TILES: tuple[tuple[int, int], ...] = ((1, 7), (2, 6), (3, 5), (4, 4), (5, 3), (6, 2))  # (K, P)
else:
    ROW_TILES = ((6, 1), (5, 2), (3, 3), (3, 4), (2, 5), (2, 6), (1, 8), (1, 10))
    CHANNEL_GROUPS = (6, 3, 2, 1, 1, 1, 1)
    WHOLE_ROWS = ()
    DOT_TILES = ((1, 7), (2, 5), (3, 3), (3, 4), (4, 3), (6, 2))
AHEAD = 48  # numbers from what a channel tile reads to what it asks the caches for, some tiles later
CHANNEL_TILES = (*((r, p, g + 1) for r in (1, 2) for g, p in enumerate(CHANNEL_GROUPS)),  # (R, P, G)
                 *((r, 1, g) for r in (1, 2) for g in WHOLE_ROWS))  # these last: taps have no use for them


@intrinsic
def row_tile(typingctx, size, x, bases, offs, wi, o0, T, w, w0, s0, out, at, step, relu):
    """R vectors of positions x K output channels, (R, K) = ROW_TILES[size].

                     w[t, 0]  ...  w[t, K-1]        for every t:  load R vectors of x, K scalars of w,
      x[bases[0] + offs[t] : + L]    R*K sums                     multiply all with all
      x[bases[R-1] + ...]

    Step t reads offs[o0 + t] and row wi[o0 + t] of w, which is (.., K) from w0 on; sums start from w[s0 : + K] (the bias).
    Stores vector r of channel k at out[at[r] + k*step], negative sums as 0 where relu is not 0; NaN stays NaN.
    """
    def codegen(context, b, sig, args):
        number, xv, basev, offv, wiv, o0v, tv, wv, w0v, s0v, outv, atv, stepv, reluv = args
        e = Emitter(context, b, x)
        table, at_ = e.pointer(bases, basev, ir.Constant(I64, 0)), e.pointer(at, atv, ir.Constant(I64, 0))
        op, ip, wp, first = e.pointer(offs, offv, o0v), e.pointer(wi, wiv, o0v), e.pointer(w, wv, w0v), e.pointer(w, wv, s0v)
        xp, yp = e.pointer(x, xv, ir.Constant(I64, 0)), e.pointer(out, outv, ir.Constant(I64, 0))
        rectify = b.icmp_signed("!=", reluv, ir.Constant(I64, 0))
        floor = e.broadcast(b.select(rectify, ir.Constant(e.elt, 0.0), ir.Constant(e.elt, float("-inf"))))

        def emit(nr, nk):
            rows = [e.at(xp, b.load(e.at(table, r))) for r in range(nr)]
            start = [e.broadcast(b.load(e.at(first, k))) for k in range(nk) for _ in range(nr)]

            def body(t, acc):
                off = b.load(e.at(op, t))
                xs = [e.load(e.at(p, off)) for p in rows]
                row = e.at(wp, b.mul(b.load(e.at(ip, t)), ir.Constant(I64, nk)))
                new = []
                for k in range(nk):
                    s = e.broadcast(b.load(e.at(row, k)))
                    new += [e.fma(s, xs[r], acc[k * nr + r]) for r in range(nr)]
                return new

            sums = e.loop(tv, start, body)
            to = [e.at(yp, b.load(e.at(at_, r))) for r in range(nr)]
            for i, v in enumerate(sums):
                clipped = e.raised(v, floor)
                e.store(clipped, e.at(to[i % nr], b.mul(stepv, ir.Constant(I64, i // nr))))

        switch(b, number, [partial(emit, *shape) for shape in ROW_TILES])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, x, bases, offs, wi, i, i, w, i, i, out, at, i, i), codegen


class ChannelTile:
    """The sums of channel_tile, in registers: position i = p*G + g, vector r is sums[i*R + r]."""

    def __init__(self, e: Emitter, shape: tuple[int, int, int], xp: Any, table: Any, op: Any, T: Any, wp: Any) -> None:
        self.e, self.shape, self.xp, self.table, self.op, self.T, self.wp = e, shape, xp, table, op, T, wp

    def run(self, first: list, ahead: int = 0) -> list:
        e, b, (nr, np_, ng) = self.e, self.e.b, self.shape
        groups = [e.at(self.xp, b.load(e.at(self.table, p))) for p in range(np_)]

        def body(t: Any, acc: list) -> list:
            off = b.load(e.at(self.op, t))
            row = e.at(self.wp, b.mul(t, ir.Constant(I64, nr * e.L)))
            ws = [e.load(e.at(row, r * e.L)) for r in range(nr)]
            new = []
            for p in range(np_):
                here = e.at(groups[p], off)
                for g in range(ng):
                    s = e.broadcast(b.load(e.at(here, g)))
                    new += [e.fma(s, ws[r], acc[(p * ng + g) * nr + r]) for r in range(nr)]
            if ahead:
                e.prefetch(e.at(here, ahead))
            return new

        return e.loop(self.T, first, body)


@intrinsic
def channel_tile(typingctx, size, x, bases, offs, o0, T, w, w0, out, at, step, valid, relu):
    """R vectors of channels x P groups of G neighbouring positions, (R, P, G) = CHANNEL_TILES[size].

                     w[t, 0:L] ... w[t, (R-1)*L : R*L]      for every t:  load R vectors of w, P*G scalars of x,
      x[bases[0] + offs[t] + 0]                                           multiply all with all
      x[bases[0] + offs[t] + G-1]        P*G*R sums
      x[bases[P-1] + offs[t] + G-1]

    w is (T, R*L) from w0 on, and its row T holds what each sum starts from (the bias). offs is read from o0 on.
    The sums are turned in registers: group p of channel k < valid goes to out[at[p] + k*step : + G], negative ones as 0
    where relu is not 0; NaN stays NaN.
    """
    def codegen(context, b, sig, args):
        number, xv, basev, offv, o0v, tv, wv, w0v, outv, atv, stepv, validv, reluv = args
        e, zero = Emitter(context, b, x), ir.Constant(I64, 0)
        wp, at_, yp = e.pointer(w, wv, w0v), e.pointer(at, atv, zero), e.pointer(out, outv, zero)
        ends = e.pointer(x, xv, zero), e.pointer(bases, basev, zero), e.pointer(offs, offv, o0v), tv, wp
        rectify = b.icmp_signed("!=", reluv, zero)
        floor = e.broadcast(b.select(rectify, ir.Constant(e.elt, 0.0), ir.Constant(e.elt, float("-inf"))))

        def emit(nr, np_, ng):
            start = e.at(wp, b.mul(tv, ir.Constant(I64, nr * e.L)))
            first = [e.load(e.at(start, r * e.L)) for r in range(nr)]
            sums = ChannelTile(e, (nr, np_, ng), *ends).run(first * (np_ * ng), AHEAD)
            sums = [e.raised(v, floor) for v in sums]
            to = [e.at(yp, b.load(e.at(at_, p))) for p in range(np_)]
            rows = 1 << (ng - 1).bit_length()  # a power of two, of which ng are meant
            stop = b.append_basic_block("turned")
            for r in range(nr):
                turned = [e.weave([sums[(p * ng + min(g, ng - 1)) * nr + r] for g in range(rows)]) for p in range(np_)]
                for lane in range(e.L):
                    channel = r * e.L + lane
                    more = b.append_basic_block("channel")
                    b.cbranch(b.icmp_signed("<", ir.Constant(I64, channel), validv), more, stop)
                    b.position_at_end(more)
                    for p in range(np_):
                        here = e.at(to[p], b.mul(stepv, ir.Constant(I64, channel)))
                        for g in range(0, ng, e.L):  # a group may be wider than a vector
                            v, lane0 = divmod(lane * rows + g, e.L)
                            e.store_part(turned[p][v], lane0, min(ng - g, e.L), e.at(here, g))
            b.branch(stop)
            b.position_at_end(stop)

        switch(b, number, [partial(emit, *shape) for shape in CHANNEL_TILES])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, x, bases, offs, i, i, w, i, out, at, i, i, i), codegen


@intrinsic
def tap_tile(typingctx, size, x, bases, offs, o0, T, w, w0, sums, s0):
    """The channel tile for weight gradients: adds to sums[s0 + i*R*L + r*L : + L] for position i = p*G + g, vector r.

    There, w is y with its channels innermost, the positions of y are in the role of taps, and taps in that of positions.
    """
    @outlined
    def codegen(context, b, sig, args):
        number, xv, basev, offv, o0v, tv, wv, w0v, sumv, s0v = args
        e, zero = Emitter(context, b, x), ir.Constant(I64, 0)
        sp = e.pointer(sums, sumv, s0v)
        ends = (e.pointer(x, xv, zero), e.pointer(bases, basev, zero), e.pointer(offs, offv, o0v), tv,
                e.pointer(w, wv, w0v))

        def emit(*shape):
            at = [e.at(sp, i * e.L) for i in range(shape[0] * shape[1] * shape[2])]
            for pointer, v in zip(at, ChannelTile(e, shape, *ends).run([e.load(p) for p in at])):
                e.store(v, pointer)

        switch(b, number, [partial(emit, *shape) for shape in CHANNEL_TILES if shape[2] not in WHOLE_ROWS])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, x, bases, offs, i, i, w, i, sums, i), codegen


@intrinsic
def turn(typingctx, src, s0, sstep, rows, dst, d0, dstep):
    """A block of up to L rows of L turned over: dst[d0 + j*dstep + i] = src[s0 + i*sstep + j]; absent rows hold the last."""
    def codegen(context, b, sig, args):
        sv, s0v, ssv, rv, dv, d0v, dsv = args
        e = Emitter(context, b, src)
        sp, dp, last = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v), b.sub(rv, ir.Constant(I64, 1))
        numbers = [ir.Constant(I64, i) for i in range(e.L)]
        rows = [e.load(e.at(sp, b.mul(ssv, b.select(b.icmp_signed("<", i, last), i, last)))) for i in numbers]
        for j, v in zip(numbers, e.weave(rows)):
            e.store(v, e.at(dp, b.mul(dsv, j)))
        return context.get_dummy_value()

    i = types.int64
    return types.void(src, i, i, i, dst, i, i), codegen


@intrinsic
def copy(typingctx, src, s0, dst, d0, n):
    """dst[d0 : d0 + n] = src[s0 : s0 + n] in whole vectors, the last over the one before; less than a vector by a mask."""
    def codegen(context, b, sig, args):
        sv, s0v, dv, d0v, nv = args
        e = Emitter(context, b, src)
        sp, dp, wide = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v), ir.Constant(I64, e.L)
        with b.if_else(b.icmp_signed(">=", nv, wide)) as (whole, short):
            with whole:
                def vector(t, none):
                    at = b.mul(t, wide)
                    e.store(e.load(e.at(sp, at)), e.at(dp, at))
                    return []
                last = b.sub(nv, wide)
                e.loop(b.sdiv(nv, wide), [], vector)
                e.store(e.load(e.at(sp, last)), e.at(dp, last))
            with short:
                e.masked_store(e.masked_load(sp, e.first(nv)), dp, e.first(nv))
        return context.get_dummy_value()

    i = types.int64
    return types.void(src, i, dst, i, i), codegen


@intrinsic
def split(typingctx, m, src, s0, n, dst, d0, row, w0):
    """n <= m*L neighbours of src from s0 on, m = 2 or 4: every m-th from the r-th on to dst from
    d0 + (r+w0)%m*row + (r+w0)//m on."""
    def codegen(context, b, sig, args):
        mv, sv, s0v, nv, dv, d0v, rowv, w0v = args
        e = Emitter(context, b, src)
        sp, dp = e.pointer(src, sv, s0v), e.pointer(dst, dv, d0v)

        def columns(vectors):
            if len(vectors) == 1:
                return vectors
            even, odd = ([e.shuffle(v, w, list(range(first, 2 * e.L, 2))) for v, w in zip(vectors[::2], vectors[1::2])]
                         for first in (0, 1))
            return [v for pair in zip(columns(even), columns(odd)) for v in pair]

        def emit(m, whole):
            many = ir.Constant(I64, m)
            masks = [e.first(b.sub(nv, ir.Constant(I64, i * e.L))) for i in range(m)]
            vectors = [e.load(e.at(sp, i * e.L)) if whole else e.masked_load(e.at(sp, i * e.L), masks[i]) for i in range(m)]
            for r, v in enumerate(columns(vectors)):
                column = b.add(w0v, ir.Constant(I64, r))
                to = e.at(dp, b.add(b.mul(b.urem(column, many), rowv), b.udiv(column, many)))
                if whole:
                    e.store(v, to)
                else:
                    e.masked_store(v, to, e.first(b.sdiv(b.add(nv, ir.Constant(I64, m - 1 - r)), many)))

        size = b.add(b.ashr(mv, ir.Constant(I64, 2)), b.select(
            b.icmp_signed("<", nv, b.mul(mv, ir.Constant(I64, e.L))), ir.Constant(I64, 2), ir.Constant(I64, 0)))
        switch(b, size, [partial(emit, m, whole) for whole in (True, False) for m in (2, 4)])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, src, i, i, dst, i, i, i), codegen


@intrinsic
def dot_tile(typingctx, size, x, bases, xo, y, at, yo, full, T, part, tails, keep, sums, s0):
    """K channels of y x P taps of x, both as vectors of positions, (K, P) = DOT_TILES[size].

                     x[bases[0] + xo[t] : + L] ... x[bases[P-1] + xo[t] : + L]
      y[at[0] + yo[t] : + L]       K*P vectors of sums, each lane for itself: lanes are added up once, at the very end
      y[at[K-1] + yo[t] : + L]

    t runs over T vectors from `full` on, then over `tails` from `part` on, of which only the first `keep` lanes are read.
    Adds to sums[s0 + (k*P + p)*L : + L].
    """
    @outlined
    def codegen(context, b, sig, args):
        number, xv, basev, xov, yv, atv, yov, fullv, tv, partv, tailv, keepv, sumv, s0v = args
        e, zero = Emitter(context, b, x), ir.Constant(I64, 0)
        xp, yp, table, at_ = (e.pointer(a, v, zero) for a, v in ((x, xv), (y, yv), (bases, basev), (at, atv)))
        mask = e.first(keepv)
        sp = e.pointer(sums, sumv, s0v)

        def emit(nk, np_):
            xs = [e.at(xp, b.load(e.at(table, p))) for p in range(np_)]
            ys = [e.at(yp, b.load(e.at(at_, k))) for k in range(nk)]
            acc = [e.load(e.at(sp, i * e.L)) for i in range(nk * np_)]
            for first, count, load in ((fullv, tv, e.load), (partv, tailv, lambda p: e.masked_load(p, mask))):
                x_at, y_at = e.pointer(xo, xov, first), e.pointer(yo, yov, first)

                def body(t, acc, x_at=x_at, y_at=y_at, load=load):
                    a, c = b.load(e.at(x_at, t)), b.load(e.at(y_at, t))
                    taps, new = [load(e.at(p, a)) for p in xs], []
                    for k in range(nk):
                        row = load(e.at(ys[k], c))
                        new += [e.fma(row, tap, acc[k * np_ + p]) for p, tap in enumerate(taps)]
                    return new

                acc = e.loop(count, acc, body)
            for i, v in enumerate(acc):
                e.store(v, e.at(sp, i * e.L))

        switch(b, number, [partial(emit, *shape) for shape in DOT_TILES])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, x, bases, xo, y, at, yo, i, i, i, i, i, sums, i), codegen
