"""Poolings that sum their windows, as compiled loops: average and Lp pooling, and their adjoint and gradient.

    avg_pool:  y[o] = sum over the cells i of window o of x[i] / divisor[o]    adjoint:  x[i] = sum of y[o] / divisor[o]
    lp_pool:   y[o] = (sum |x[i]|^p)^(1/p)          gradient:  sign(x[i]) |x[i]|^(p-1) * sum of g[o] y[o]^(1-p)

A window is a product of axes, so a row of results is made in two steps: add up the rows under it, in vectors along the
width, then take windows of that one row (a 3x3 window costs 3 + 3 additions, not 9). Seen from x, the windows that
hold a cell are windows over y (`windows.dual`), so the adjoint is the same loop, and every result is written once, by
one thread, in one order. Read next: windows.py for the tables.
"""

from __future__ import annotations

import numba
import numpy as np

from ...dims import AnyPool
from ..invoke import each
from ..jit import njit
from . import windows
from .windows import flat

u = np.uintp  # an unsigned index spares the test for Python's negative ones
WHOLE = range(1, 9)  # powers that are made by products
LINE = 16  # float64 of slack after each thread's scratch, so that no two share a cache line


def avg_pool(x: np.ndarray, dims: AnyPool, count_include_pad: bool = True,
             divisor_override: int | None = None) -> np.ndarray:
    """Rows, then columns: vector additions along the width; the reference adds every window from scratch."""
    divisors = windows.divisors(dims, count_include_pad, divisor_override, x.dtype)
    return _averages(x, divisors, windows.forward(dims), dims.y_shape, adjoint=False)


def avg_pool_adjoint(y: np.ndarray, dims: AnyPool, count_include_pad: bool = True,
                     divisor_override: int | None = None) -> np.ndarray:
    """The same sums over the windows that hold each cell of x; y is divided before it is added."""
    divisors = windows.divisors(dims, count_include_pad, divisor_override, y.dtype)
    return _averages(y, divisors, windows.dual(dims), dims.x_shape, adjoint=True)


def lp_pool(x: np.ndarray, dims: AnyPool, p: float) -> np.ndarray:
    """Powers, sums and roots in one pass over x, in float64; broken powers and higher roots by NumPy's vector code."""
    if p in (1, 2):
        return _norms(x, dims, int(p), x.dtype)
    sums = (_norms(x, dims, int(p), np.dtype(np.float64)) if p in WHOLE
            else avg_pool(np.abs(x, dtype=np.float64) ** p, dims, divisor_override=1))
    return (sums ** (1 / p)).astype(x.dtype)


def lp_pool_grad(x: np.ndarray, y: np.ndarray, g: np.ndarray, dims: AnyPool, p: float) -> np.ndarray:
    """g[o] y[o]^(1-p) summed over the windows that hold each cell, times sign(x) |x|^(p-1); 0 where x or y is."""
    if p not in WHOLE:
        shares = np.divide(g, y.astype(np.float64) ** (p - 1), out=np.zeros(y.shape), where=y != 0)
        sizes = np.sign(x) * np.abs(x, dtype=np.float64) ** (p - 1)
        return (sizes * avg_pool_adjoint(shares, dims, divisor_override=1)).astype(g.dtype)
    there, out = windows.dual(dims), np.empty(dims.x_shape, g.dtype)
    row, total = _scratch(there, np.dtype(np.float64))
    _lp_pool_grad(flat(x), flat(y), flat(g), flat(out), row, total,
                  there.source, there.target, there.cells, there.steps, there.run, int(p))
    return out


def _norms(x: np.ndarray, dims: AnyPool, p: int, dtype: np.dtype) -> np.ndarray:
    """The norms for p = 1 and 2; for higher p the sums of powers, their roots still to be taken."""
    there, y = windows.forward(dims), np.empty(dims.y_shape, dtype)
    row, total = _scratch(there, np.dtype(np.float64))
    _lp_pool(flat(x), flat(y), row, total, there.source, there.target, there.cells, there.steps, there.run, p)
    return y


def _averages(x: np.ndarray, divisors: np.ndarray, there: windows.Windows, shape: tuple, adjoint: bool) -> np.ndarray:
    y = np.empty(shape, x.dtype)
    row, total = _scratch(there, x.dtype)
    _avg_pool(flat(x), flat(y), row, total, divisors,
              there.source, there.target, there.cells, there.steps, there.run, adjoint)
    return y


@njit
def _avg_pool(x, y, row, total, divisors, source, target, cells, steps, run, adjoint):
    each(row.shape[0], _avg_rows, (x, y, row, total, divisors, source, target, cells, steps, run, adjoint))


@njit(inner=True)
def _share(t, y, target, lines):
    """The rows of y that thread t takes, from begin to end, and its line of each of `lines`."""
    rows, T = y.size // max(target[2], 1), lines[0].shape[0]
    return rows * t // T, rows * (t + 1) // T, lines[0][t], lines[1][t]


@njit(inner=True, error_model="numpy")
def _avg_rows(t, x, y, row_of, total_of, divisors, source, target, cells, steps, run, adjoint):
    """The rows of thread t: row (W,) sums the rows of x under one of y, total (OW,) the windows of that row."""
    begin, end, row, total = _share(t, y, target, (row_of, total_of))
    D, H, W = source
    OD, OH, OW = target
    plane, od, oh = begin // (OD * OH), begin // OH % OD, begin % OH  # counted on below: divisions would cost as much as sums
    for here in range(begin, end):
        row[:W] = 0
        for kd in range(cells[1, od]):
            for kh in range(cells[3, oh]):
                d, h = cells[0, od] + kd * steps[0], cells[2, oh] + kh * steps[1]
                x0 = ((plane * D + d) * H + h) * W
                if adjoint:
                    part = divisors[0, d] * divisors[1, h]
                    for w in range(W):
                        row[w] += x[u(x0 + w)] / (part * divisors[2, w])
                else:
                    for w in range(W):
                        row[w] += x[u(x0 + w)]
        _sum_along(row, total, OW, cells, steps[2], run)
        part = divisors[0, od] * divisors[1, oh]
        for o in range(OW):
            y[u(here * OW + o)] = total[o] if adjoint else total[o] / (part * divisors[2, o])
        oh += 1
        if oh == OH:
            oh, od = 0, od + 1
            if od == OD:
                od, plane = 0, plane + 1


@njit
def _lp_pool(x, y, row, total, source, target, cells, steps, run, p):
    each(row.shape[0], _lp_rows, (x, y, row, total, source, target, cells, steps, run, p))


@njit(inner=True, error_model="numpy")
def _lp_rows(t, x, y, row_of, total_of, source, target, cells, steps, run, p):
    begin, end, row, total = _share(t, y, target, (row_of, total_of))
    D, H, W = source
    OD, OH, OW = target
    for here in range(begin, end):
        plane, od, oh = here // (OD * OH), here // OH % OD, here % OH
        row[:W] = 0
        for kd in range(cells[1, od]):
            for kh in range(cells[3, oh]):
                d, h = cells[0, od] + kd * steps[0], cells[2, oh] + kh * steps[1]
                x0 = ((plane * D + d) * H + h) * W
                if p == 2:
                    for w in range(W):
                        v = np.float64(x[u(x0 + w)])
                        row[w] += v * v
                else:
                    for w in range(W):
                        row[w] += _power(abs(np.float64(x[u(x0 + w)])), p)
        _sum_along(row, total, OW, cells, steps[2], run)
        for o in range(OW):
            y[u(here * OW + o)] = np.sqrt(total[o]) if p == 2 else total[o]


@njit
def _lp_pool_grad(x, y, g, out, row, total, source, target, cells, steps, run, p):
    each(row.shape[0], _lp_grad_rows, (x, y, g, out, row, total, source, target, cells, steps, run, p))


@njit(inner=True, error_model="numpy")
def _lp_grad_rows(t, x, y, g, out, row_of, total_of, source, target, cells, steps, run, p):
    begin, end, row, total = _share(t, out, target, (row_of, total_of))
    D, H, W = source  # of y and g, for here the windows are those that hold a cell of x
    OD, OH, OW = target
    for here in range(begin, end):
        plane, od, oh = here // (OD * OH), here // OH % OD, here % OH
        row[:W] = 0
        for kd in range(cells[1, od]):
            for kh in range(cells[3, oh]):
                d, h = cells[0, od] + kd * steps[0], cells[2, oh] + kh * steps[1]
                y0 = ((plane * D + d) * H + h) * W
                for w in range(W):
                    norm, cotangent = np.float64(y[u(y0 + w)]), np.float64(g[u(y0 + w)])
                    row[w] += cotangent / (norm if p == 2 else _power(norm, p - 1)) if norm != 0 else 0.0
        _sum_along(row, total, OW, cells, steps[2], run)
        for o in range(OW):
            v = np.float64(x[u(here * OW + o)])
            out[u(here * OW + o)] = (v if p == 2 else np.sign(v) * _power(abs(v), p - 1)) * total[o]


@njit(inner=True)
def _sum_along(row, total, n, cells, step, run):
    """total[o] = sum of the cells of window o of one row: the stretch that repeats by loops, the rest by the table."""
    begin, end, period, advance = run
    for o in range(begin):
        total[o] = _window_sum(row, cells[4, o], cells[5, o], step)
    for o in range(end, n):
        total[o] = _window_sum(row, cells[4, o], cells[5, o], step)
    if begin == end:
        return
    i, k = cells[4, begin], cells[5, begin]
    if period == 2 and step == 1 and advance == 1 and 0 < k < 3 and 0 < cells[5, begin + 1] < 3:
        _sum_pairs(row, i, cells[4, begin + 1], k, cells[5, begin + 1], total, begin, end)
    elif period == 1 and step == 1 and advance == 2 and k == 2:
        _sum_taps(row, i, total, begin, end, 2, 2)
    elif period == 1 and step == 1 and advance == 2 and k == 3:
        _sum_taps(row, i, total, begin, end, 2, 3)
    elif period == 1 and step == 1 and advance == 1 and k == 3:
        _sum_taps(row, i, total, begin, end, 1, 3)
    else:
        m = (end - begin) // period
        for o in range(begin, begin + period):
            i, k = cells[4, o], cells[5, o]
            for q in range(m):
                total[u(o + q * period)] = row[u(i + q * advance)] if k > 0 else 0
            for j in range(1, k):
                for q in range(m):
                    total[u(o + q * period)] += row[u(i + q * advance + j * step)]


@njit(inner=True)
def _power(a, p):
    """a^p for whole p by products."""
    product = 1.0
    for _ in range(p):
        product *= a
    return product


@njit(inner=True)
def _sum_taps(row, i, total, begin, end, advance, k):
    """Windows of k neighbouring cells, `advance` apart; literals at the call, so that the taps unroll."""
    for q in range(end - begin):
        s = total.dtype.type(0)
        for j in range(k):
            s += row[u(i + q * advance + j)]
        total[u(begin + q)] = s


@njit(inner=True)
def _sum_pairs(row, i, j, k, l, total, begin, end):
    """Windows that take turns, k cells from i on and l cells from j on: with a stride of 2, those that hold a cell of x.

    Both kinds are stored in one loop: a vector of each, woven together.
    """
    one, two, zero = np.intp(k == 2), np.intp(l == 2), row.dtype.type(0)  # where a second cell is, if there is one
    for q in range((end - begin) // 2):
        a, b = row[u(i + q + one)], row[u(j + q + two)]
        first = row[u(i + q)] + (a if k == 2 else zero)
        second = row[u(j + q)] + (b if l == 2 else zero)
        total[u(begin + 2 * q)] = first
        total[u(begin + 2 * q + 1)] = second


@njit(inner=True)
def _window_sum(row, first, count, step):
    s = row.dtype.type(0)
    for i in range(first, first + count * step, step):
        s += row[u(i)]
    return s


def _scratch(there: windows.Windows, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    threads = numba.get_num_threads()
    return (np.empty((threads, there.source[2] + LINE), dtype), np.empty((threads, there.target[2] + LINE), dtype))
