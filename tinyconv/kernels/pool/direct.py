"""Poolings that choose one cell of each window, as compiled loops: max pooling, gather and scatter.

    y[o], at[o] = max over the cells i of window o of x[i], and where it stands       (first of equals, first NaN)
    gather:  y[o] = x[at[o]]          scatter:  x[at[o]] += y[o]

A row of y at a time: every row of x under it is folded into the running maximum and its position, which stay in L1.
Along a row the loop runs over outputs, with the taps of the common kernels written out by a literal k, so that it
becomes vector compares and selects. `u` marks an index as unsigned: it spares the test for Python's negative ones.
Read next: windows.py for the tables, sums.py for average and Lp pooling.
"""

from __future__ import annotations

from math import prod

import numba
import numpy as np
from numba import prange

from ...dims import AnyPool, PoolDims
from ..geometry import floats_only
from ..jit import njit
from . import windows
from .windows import flat, planes

u = np.uintp
LINE = 32  # int32 of slack after each thread's scratch, so that no two share a cache line


def max_pool(x: np.ndarray, dims: AnyPool) -> tuple[np.ndarray, np.ndarray]:
    """Row by row, taps written out: one compare and two selects a tap and vector, results written once.

    The reference compares cell by cell; a window by itself is too short for vectors, so the loop runs across windows.
    """
    there = windows.forward(dims)
    y, at = np.empty(dims.y_shape, x.dtype), np.empty(dims.y_shape, np.int64)
    threads, across, d = numba.get_num_threads(), _across(dims), dims.dilation[-1]
    lo, n, s, k, _ = across
    top, best = np.empty((threads, n + LINE), x.dtype), np.empty((threads, n + LINE), np.int32)
    padded = np.empty((threads, max(lo + dims.input[-1], n * s + k * d) + LINE), x.dtype)
    _max_pool(flat(x), flat(y), flat(at), top, best, padded,
              there.source, there.target, there.cells, there.steps, across)
    return y, at


def pool_gather(x: np.ndarray, indices: np.ndarray, dims: AnyPool) -> np.ndarray:
    """Plane by plane, y[o] = x[at[o]]."""
    y = np.empty(dims.y_shape, x.dtype)
    _gather(planes(x), planes(indices), planes(y))
    return y


def pool_scatter(y: np.ndarray, indices: np.ndarray, dims: AnyPool) -> np.ndarray:
    """Plane by plane, zeros and then x[at[o]] += y[o] while the plane is in cache; a plane belongs to one thread.

    Overlapping windows add in the order of o, so the result is the same on any number of threads, without atomics.
    """
    x = np.empty(dims.x_shape, y.dtype)
    _scatter(planes(y), planes(indices), planes(x))
    return x


def refuse_max(dims: AnyPool, dtype: np.dtype) -> str:
    """max_pool counts positions in a plane with 32 bits while it compares."""
    return floats_only(dims, dtype) or ("it counts with 32 bits, not 2^31 cells" if prod(dims.input) >= 2**31 else "")


@njit(parallel=True)
def _max_pool(x, y, at, top, best, padded, source, target, cells, steps, across):
    rows, T = y.size // max(target[2], 1), top.shape[0]
    for thread in prange(T):
        t = np.int64(thread)
        _max_rows(rows * t // T, rows * (t + 1) // T, x, y, at, top[t], best[t], padded[t],
                  source, target, cells, steps, across)


@njit
def _max_rows(begin, end, x, y, at, top, best, padded, source, target, cells, steps, across):
    """Rows begin to end of y, counted over planes and depths, each by way of top and best."""
    D, H, W = source
    OD, OH, OW = target
    lo, n, s, k, inside = across
    d = steps[2]
    padded[:] = -np.inf
    for row in range(begin, end):
        plane, od, oh = row // (OD * OH), row // OH % OD, row % OH
        d0, h0 = cells[0, od], cells[2, oh]
        for o in range(n):
            top[o] = -np.inf
            best[o] = (d0 * H + h0) * W + cells[4, o]
        for kd in range(cells[1, od]):
            for kh in range(cells[3, oh]):
                line = ((d0 + kd * steps[0]) * H + h0 + kh * steps[1]) * W
                x0 = plane * D * H * W + line
                if s == 0:
                    _fold_any(x, x0, line, top, best, OW, cells, d)
                elif inside and x0 + (n - 1) * s + (k - 1) * d < x.size:
                    _fold(x, x0, line, top, best, n, s, k, d)
                else:
                    for w in range(W):
                        padded[u(lo + w)] = x[u(x0 + w)]
                    _fold(padded, np.int64(0), line - lo, top, best, n, s, k, d)
        for o in range(OW):
            y[u(row * OW + o)] = top[o]
        for o in range(OW):
            at[u(row * OW + o)] = best[o]


@njit
def _fold(x, x0, line, top, best, n, s, k, d):
    """Fold n windows along a row, s apart, into their maxima; the row starts at x[x0], at `line` in its plane."""
    if s == 2 and k == 2 and d == 1:
        _fold_taps(x, x0, line, top, best, n, 2, 2)
    elif s == 2 and k == 3 and d == 1:
        _fold_taps(x, x0, line, top, best, n, 2, 3)
    elif s == 1 and k == 3 and d == 1:
        _fold_taps(x, x0, line, top, best, n, 1, 3)
    else:
        for j in range(0, k * d, d):
            _fold_taps(x, x0 + j, line + j, top, best, n, s, 1)


@njit(forceinline=True)
def _fold_taps(x, x0, line, top, best, n, s, k):
    """k neighbouring cells of each window; s and k are literals at the call, so that the inner loop unrolls."""
    for o in range(n):
        most, where = top[o], best[o]
        for j in range(k):
            v = x[u(x0 + o * s + j)]
            wins = _beats(v, most)
            most = v if wins else most
            where = np.int32(line + o * s + j) if wins else where
        top[o], best[o] = most, where


@njit
def _fold_any(x, x0, line, top, best, n, cells, d):
    """The same for windows of sizes of their own."""
    for o in range(n):
        for j in range(cells[5, o]):
            i = cells[4, o] + j * d
            if _beats(x[u(x0 + i)], top[o]):
                top[o], best[o] = x[u(x0 + i)], line + i


@njit(forceinline=True)
def _beats(v, top):
    """Larger, or NaN; nothing beats a NaN. Without a branch: `&`, not `and`."""
    return (not (v <= top)) & (top == top)


@njit(parallel=True)
def _gather(x, at, y):
    for plane in prange(x.shape[0]):
        for o in range(at.shape[1]):
            y[plane, o] = x[plane, u(at[plane, o])]


@njit(parallel=True)
def _scatter(y, at, x):
    for plane in prange(x.shape[0]):
        x[plane, :] = 0
        for o in range(at.shape[1]):
            x[plane, u(at[plane, o])] += y[plane, o]


def _across(dims: AnyPool) -> tuple[int, int, int, int, bool]:
    """Along a row: padding before it, windows that loops run over, stride, taps, and whether all windows lie inside.

    A stride of 0 stands for windows of any size.

    A row is run to a multiple of 8 windows, and to 24 at least, in vectors only: those beyond its end, which see the
    next row or padding, are dropped. One scalar window costs as much as eight in a vector.
    """
    if not isinstance(dims, PoolDims):
        return 0, dims.output[-1], 0, 0, True
    lo, o, s, k = dims.padding[-1][0], dims.output[-1], dims.stride[-1], dims.kernel[-1]
    inside = lo == 0 and (o - 1) * s + (k - 1) * dims.dilation[-1] < dims.input[-1]
    return lo, max(24, (o + 7) // 8 * 8), s, k, inside
