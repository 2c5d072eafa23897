"""Poolings whose rule needs all cells of a window at once, one window after another: median, stochastic, even ties.

    median, stochastic:  choose a cell, return its value and position (the linear half is gather and scatter, as of max)
    even gather:   y[o] = mean of u[i] over the cells of window o where x[i] is the maximum
    even scatter:  its adjoint: g[o] in equal parts to those cells

The positions of a window's cells are listed once, in row-major order, and the rule walks the list. A plane belongs to
one thread, so that sums have one order. Read next: reference.py, which says the same in whole arrays.
"""

from __future__ import annotations

from math import prod

import numba
import numpy as np

from ...dims import AnyPool
from ..invoke import each
from ..jit import njit
from . import windows
from .windows import planes

u64 = np.uintp  # an unsigned index spares the test for Python's negative ones
LINE = 8  # int64 of slack after each thread's list, so that no two share a cache line


def median_pool(x: np.ndarray, dims: AnyPool) -> tuple[np.ndarray, np.ndarray]:
    """Window by window, its positions sorted by insertion: few cells, and equal ones keep their order."""
    return _chosen(x, np.empty((1, 1), x.dtype), dims, median=True)


def stochastic_pool(x: np.ndarray, u: np.ndarray, dims: AnyPool) -> tuple[np.ndarray, np.ndarray]:
    """Window by window, a running sum of max(x, 0) up to u times the total."""
    return _chosen(x, planes(u), dims, median=False)


def pool_even_gather(u: np.ndarray, x: np.ndarray, y: np.ndarray, dims: AnyPool) -> np.ndarray:
    """Window by window, the mean of u over the tied maxima."""
    out = np.empty(dims.y_shape, u.dtype)
    there, lists = windows.forward(dims), _lists(dims)
    _even(planes(u), planes(x), planes(y), planes(out), lists,
          there.source, there.target, there.cells, there.steps, False)
    return out


def pool_even_scatter(g: np.ndarray, x: np.ndarray, y: np.ndarray, dims: AnyPool) -> np.ndarray:
    """Window by window, g in equal parts to the tied maxima."""
    out = np.zeros(dims.x_shape, g.dtype)
    there, lists = windows.forward(dims), _lists(dims)
    _even(planes(g), planes(x), planes(y), planes(out), lists,
          there.source, there.target, there.cells, there.steps, True)
    return out


def _chosen(x: np.ndarray, u: np.ndarray, dims: AnyPool, median: bool) -> tuple[np.ndarray, np.ndarray]:
    y, at = np.empty(dims.y_shape, x.dtype), np.empty(dims.y_shape, np.int64)
    there, lists = windows.forward(dims), _lists(dims)
    _choose(planes(x), u, planes(y), planes(at), lists, there.source, there.target, there.cells, there.steps, median)
    return y, at


@njit
def _choose(x, u, y, at, lists, source, target, cells, steps, median):
    each(lists.shape[0], _choose_planes, (x, u, y, at, lists, source, target, cells, steps, median))


@njit(inner=True)
def _choose_planes(t, x, u, y, at, lists, source, target, cells, steps, median):
    P, T, where = x.shape[0], lists.shape[0], lists[t]
    for plane in range(P * t // T, P * (t + 1) // T):
        x1 = x[plane]
        for o in range(y.shape[1]):
            n = _positions(where, o, source, target, cells, steps)
            i = _median(x1, where, n) if median else _draw(x1, where, n, u[plane, o])
            y[plane, o], at[plane, o] = x1[i], i


@njit
def _even(g, x, y, out, lists, source, target, cells, steps, scatter):
    each(lists.shape[0], _even_planes, (g, x, y, out, lists, source, target, cells, steps, scatter))


@njit(inner=True, error_model="numpy")
def _even_planes(t, g, x, y, out, lists, source, target, cells, steps, scatter):
    P, T, where = x.shape[0], lists.shape[0], lists[t]
    for plane in range(P * t // T, P * (t + 1) // T):
        g1, x1, y1, out1 = g[plane], x[plane], y[plane], out[plane]
        for o in range(y.shape[1]):
            n = _positions(where, o, source, target, cells, steps)
            _share(g1, x1, y1[o], out1, where, n, o, scatter)


@njit(inner=True)
def _positions(where, o, source, target, cells, steps):
    """Write the flat positions of window o's cells, in row-major order, into `where`; their number is returned."""
    _, H, W = source
    _, OH, OW = target
    od, oh, ow = o // (OH * OW), o // OW % OH, o % OW
    n = 0
    for kd in range(cells[1, od]):
        for kh in range(cells[3, oh]):
            line = ((cells[0, od] + kd * steps[0]) * H + cells[2, oh] + kh * steps[1]) * W + cells[4, ow]
            for kw in range(cells[5, ow]):
                where[n] = line + kw * steps[2]
                n += 1
    return n


@njit(inner=True)
def _median(x, where, n):
    """Position of the lower median; of the first NaN if there is one."""
    for j in range(n):
        i = where[j]
        v = x[u64(i)]
        if v != v:
            return i
        while j > 0 and x[u64(where[j - 1])] > v:
            where[j] = where[j - 1]
            j -= 1
        where[j] = i
    return where[(n - 1) // 2]


@njit(inner=True)
def _draw(x, where, n, u):
    """Position of the first cell at which the running sum of max(x, 0) exceeds u times the total, or the largest."""
    total, top = 0.0, where[0]
    for j in range(n):
        v, most = x[u64(where[j])], x[u64(top)]
        if v != v:
            return where[j]
        if v > most and v > 0:
            top = where[j]
        total += max(v, 0)
    threshold, s = u * total, 0.0
    for j in range(n):
        s += max(x[u64(where[j])], 0)
        if s > threshold:
            return where[j]
    return top


@njit(inner=True, error_model="numpy")
def _share(g, x, top, out, where, n, o, scatter):
    """One window of the even gather (g over cells, out[o]) or scatter (g[o], out over cells)."""
    ties = 0
    for j in range(n):
        ties += _tied(x[u64(where[j])], top)
    if scatter:
        part = g[u64(o)] / g.dtype.type(ties)
        for j in range(n):
            if _tied(x[u64(where[j])], top):
                out[u64(where[j])] += part
    else:
        s = g.dtype.type(0)
        for j in range(n):
            if _tied(x[u64(where[j])], top):
                s += g[u64(where[j])]
        out[u64(o)] = s / g.dtype.type(ties)


@njit(inner=True)
def _tied(v, top):
    return (v == top) | ((v != v) & (top != top))


def _lists(dims: AnyPool) -> np.ndarray:
    """Room for the positions of one window, for each thread."""
    return np.empty((numba.get_num_threads(), prod(max(count) for _, count in dims.windows) + LINE), np.int64)
