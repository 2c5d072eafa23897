"""The weight gradient of columns.py: rows of y stay in registers while the rows of x that they meet pass by.

    w[o, c, kh, kw] = sum over n, i, j  y[n, o, i, j] * x[n, c, i + kh - ph, j + kw*d - pw]

Down a column of vectors, each step loads a row of y, and a row of x at B neighbouring taps kw. This row meets the last KH rows
of y, one for each kh: KH*B vectors of sums from B + 1 loads. Their lanes are added up when all images have passed.
A task is a pair of channels: the same bits on any number of threads. Padding of x is multiplied: an infinite y makes NaN there.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as numba_intrinsic

from ...dims import ConvDims
from .. import host
from ..emit import I64, Emitter, lanes, outlined
from ..geometry import plain
from ..invoke import share
from ..jit import njit
from ..scratch import scratch
from .columns import ALONE, KEPT, refuse_but

intrinsic: Any = numba_intrinsic(prefer_literal=True)  # called from compiled code without its first argument
u = np.uintp
SUMS = 20 if host.REGISTERS >= 32 else 9  # vectors of sums: with KH rows of y they fit the registers
LEAST = 3  # rows of taps, from which on it is faster than simd
MOST, FEW, FILLED = 6, 2, 0.7  # output channels of a group, where rows fill so much of their vectors, or less
H, W, OH, OW, KW, PH, PW, D, C, O, PAIRS, N = range(12)  # places in `sizes`; C and O of a group, O times C pairs in a row


def conv_weight_grad(x: np.ndarray, y: np.ndarray, dims: ConvDims) -> np.ndarray:
    """Fill w: a row of x at some taps meets the rows of y that reach it."""
    dtype, (sizes, shape) = x.dtype, _sizes(dims)
    w = np.empty(dims.w_shape, dtype)
    threads = _threads(dims)
    sums = scratch("sums", size := threads * shape[0] * shape[1] * lanes(x.itemsize), dtype)[:size]
    args = plain(x, (-1,)), plain(y, (-1,)), w.reshape(-1), sums, sizes
    share(some_pairs, threads, shape, *args)
    return w


def scratch_bytes(dims: ConvDims, dtype: np.dtype) -> int:
    """The sums of a block of taps for each thread."""
    K, B = _sizes(dims)[1]
    return _threads(dims) * K * B * lanes(dtype.itemsize) * dtype.itemsize


def refuse(dims: ConvDims, dtype: np.dtype) -> str:
    """As forward, at a stride of 1 and from 3 rows of taps on; fewer channels where rows do not fill their vectors."""
    L = lanes(np.dtype(dtype).itemsize)
    filled = dims.output[-1] >= FILLED * -(-dims.output[-1] // L) * L
    return refuse_but(dims, dtype, dims.O, MOST if filled else FEW, (1,), LEAST)


def _threads(dims: ConvDims) -> int:
    """That have pairs of channels, and begin before one is done."""
    return min(numba.get_num_threads(), dims.O * dims.C // dims.groups) if dims.macs > ALONE else 1


@lru_cache(maxsize=KEPT)
def _sizes(dims: ConvDims) -> tuple[np.ndarray, tuple[int, int]]:
    """What tiles know of the geometry; rows and columns of the taps that are summed at once."""
    (kh, kw), (ph, pw) = dims.kernel, (lo for lo, _ in dims.padding)
    parts = -(-kw // max(SUMS // kh, 1))
    per = dims.C // dims.groups, dims.O // dims.groups
    sizes = *dims.input, *dims.output, kw, ph, pw, dims.dilation[1], *per, dims.O * per[0], dims.N
    return np.array(sizes, np.int64), (kh, -(-kw // parts))


@njit(inner=True)
def some_pairs(t, T, K, B, x, y, w, sums, sizes):
    """Pairs of channels, each block of their taps through all images."""
    pairs, images, taps = sizes[PAIRS], sizes[N], K * sizes[KW]
    x_plane, y_plane, size = sizes[H] * sizes[W], sizes[OH] * sizes[OW], sums.size // T
    outs, L = pairs // sizes[C], size // (K * B)
    ins = outs // sizes[O] * sizes[C]
    for pair in range(pairs * t // T, pairs * (t + 1) // T):
        o, c = divmod(pair, sizes[C])
        c += o // sizes[O] * sizes[C]
        for first in range(0, sizes[KW], B):
            k = min(first, sizes[KW] - B)
            for i in range(size):
                sums[u(t * size + i)] = 0
            for n in range(images):
                last = n + 1 == images
                passing_tile(K, B, x, (n * ins + c) * x_plane, (0 if last else ins) * x_plane, y, (n * outs + o) * y_plane,
                             (0 if last else outs) * y_plane, k, sums, t * size, sizes)
            for tap in range(K * B):
                total = sums[u(t * size + tap * L)]
                for lane in range(1, L):
                    total += sums[u(t * size + tap * L + lane)]
                w[u(pair * taps + tap // B * sizes[KW] + k + tap % B)] = total


@intrinsic
def passing_tile(typingctx, K, B, x, x0, x_next, y, y0, y_next, k, sums, s0, sizes):
    """Adds to sums[s0 + (kh*B + b)*L : + L] what the taps (kh, k + b) of a plane at x[x0] and one at y[y0] have in common.

        x row r - 1    y rows  r + ph - 1,  r + ph - 2,  r + ph - 3          K = 3: what meets taps 0, 1, 2
        x row r        y rows  r + ph,      r + ph - 1,  r + ph - 2          one of them is new
        x row r + 1    y rows  r + ph + 1,  r + ph,      r + ph - 1

    K and B are literals. The caches are asked for the planes that come next, so far behind x0 and y0.
    """
    shape = K, B
    if not all(isinstance(n, types.IntegerLiteral) for n in shape):
        return None

    @outlined
    def codegen(context, b, sig, args):
        _, _, xv, x0v, x_nextv, yv, y0v, y_nextv, kv, sumv, s0v, sizev = args
        e, nk, nb = Emitter(context, b, x), K.literal_value, B.literal_value
        table, none = e.pointer(sizes, sizev, I64(0)), ir.Constant(e.mask, [0] * e.L)
        h, wide, oh, ow, ph, pw, d = (b.load(e.at(table, n)) for n in (H, W, OH, OW, PH, PW, D))
        xp, yp, sp = (e.pointer(a, v, at) for a, v, at in ((x, xv, x0v), (y, yv, y0v), (sums, sumv, s0v)))

        def least(p, q, than="<"):
            return b.select(b.icmp_signed(than, p, q), p, q)

        # new rows of y: all that meet a row of x, and from `low` to `high` those that do with all their taps
        start, end = least(ph, I64(0), ">"), least(b.add(h, ph), b.add(oh, I64(nk - 1)))
        low = least(start, least(I64(nk - 1), end), ">")
        high = least(low, least(oh, end), ">")

        def row_of_y(t, j, mask):
            return e.masked_load(e.at(yp, b.add(b.mul(t, ow), j)), b.select(b.icmp_unsigned("<", t, oh), mask, none))

        def column(v, acc):
            j = b.mul(v, I64(e.L))
            there = e.first(b.sub(ow, j))
            at = [b.sub(b.add(j, b.mul(b.add(kv, I64(n)), d)), pw) for n in range(nb)]
            masks = [b.and_(there, e.within(a, wide)) for a in at]
            whole = b.and_(b.icmp_signed(">=", at[0], I64(0)), b.icmp_signed("<=", b.add(at[-1], I64(e.L)), wide))
            whole = b.and_(whole, b.icmp_signed("<=", b.add(j, I64(e.L)), ow))

            def step(first, load, sure, t, carried):
                t = b.add(t, first)
                rows, acc = [row_of_y(t, j, there), *carried[:nk - 1]], list(carried[nk - 1:])
                met = [b.icmp_unsigned("<", b.sub(t, I64(m)), oh) for m in range(nk)]
                line = e.at(xp, b.mul(b.sub(t, ph), wide))
                for n in range(nb):
                    v = load(e.at(line, at[n]), masks[n])
                    for m in range(nk):
                        total = e.fma(rows[m], v, acc[m * nb + n])
                        acc[m * nb + n] = total if sure else b.select(met[m], total, acc[m * nb + n])  # 0 times NaN is NaN
                e.prefetch(e.at(line, b.add(j, x_nextv)))
                e.prefetch(e.at(yp, b.add(b.add(b.mul(t, ow), j), y_nextv)))
                return [*rows[:nk - 1], *acc]

            carried = [*(row_of_y(b.sub(start, I64(m)), j, there) for m in range(1, nk)), *acc]
            first, last = (b.select(whole, n, end) for n in (low, high))
            carried = e.loop(b.sub(first, start), carried, partial(step, start, e.masked_load, False))
            carried = e.loop(b.sub(last, first), carried, partial(step, first, lambda p, mask: e.load(p), True))
            carried = e.loop(b.sub(end, last), carried, partial(step, last, e.masked_load, False))
            return carried[nk - 1:]

        places = [e.at(sp, n * e.L) for n in range(nk * nb)]
        columns = b.sdiv(b.add(ow, I64(e.L - 1)), I64(e.L))
        for v, p in zip(e.loop(columns, [e.load(p) for p in places], column), places):
            e.store(v, p)
        return context.get_dummy_value()

    n = types.int64
    return types.void(*shape, x, n, n, y, n, n, n, sums, n, sizes), codegen
