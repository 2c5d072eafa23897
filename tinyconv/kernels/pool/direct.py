"""Poolings that choose one cell of each window, as compiled loops: max pooling, gather and scatter.

    y[o], at[o] = max over the cells i of window o of x[i], and where it stands       (first of equals, first NaN)
    gather:  y[o] = x[at[o]]          scatter:  x[at[o]] += y[o]

A maximum is taken for a vector of neighbouring windows at once (tile.py), whose cells are walked in row-major order.
`u` marks an index as unsigned: it spares the test for Python's negative ones.
Read next: pairs.py for windows of 2x2, windows.py for the tables, sums.py for average and Lp pooling.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numba
import numpy as np

from ...dims import AnyPool, PoolDims
from ..emit import lanes
from ..geometry import floats_only
from ..invoke import each
from ..jit import njit
from . import windows
from .pairs import max_pairs, pairs, scatter_pairs
from .tile import APART, BESIDE, BESIDE2, max_tile
from .windows import flat, planes

u = np.uintp
ROWS = 32  # of y, a task


def max_pool(x: np.ndarray, dims: AnyPool, relu: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A vector of windows at a time: a compare and two selects a cell, maxima and positions written once.

    The reference compares cell by cell; a window by itself is too short for vectors, so the vectors run across windows.
    relu: maxima below 0 become 0; where they stand stays.
    """
    y, at = np.empty(dims.y_shape, x.dtype), np.empty(dims.y_shape, np.int64)
    floor = x.dtype.type(0 if relu else -np.inf)
    lie = pairs(dims, x.itemsize)
    if lie:
        max_pairs(flat(x), y.reshape(-1), at.reshape(-1), lie.corners, lie.spans, lie.sizes, floor)
        return y, at
    there = windows.forward(dims)
    _max_pool(flat(x), flat(y), flat(at), there.source, there.target, there.cells, there.steps, _across(dims),
              lanes(x.itemsize), floor)
    return y, at


def pool_gather(x: np.ndarray, indices: np.ndarray, dims: AnyPool) -> np.ndarray:
    """Plane by plane, y[o] = x[at[o]]."""
    y = np.empty(dims.y_shape, x.dtype)
    _gather(planes(x), planes(indices), planes(y))
    return y


def pool_scatter(y: np.ndarray, indices: np.ndarray, dims: AnyPool, where: np.ndarray | None = None) -> np.ndarray:
    """Plane by plane, zeros and then x[at[o]] += y[o] while the plane is in cache; a plane belongs to one thread.

    Overlapping windows add in the order of o, so the result is the same on any number of threads, without atomics.
    Windows of 2x2 that share no cell need neither the zeros nor the order: each cell is written once (pairs.py).
    With `where`, only the y[o] where it is above 0 are added.
    """
    x = np.empty(dims.x_shape, y.dtype)
    lie = pairs(dims, x.itemsize)
    if lie and indices.dtype == np.int64:
        y = flat(y)
        scatter_pairs(y, y if where is None else flat(where), flat(indices), x.reshape(-1), lie.corners, lie.spans, lie.sizes,
                      lie.covering, where is not None)
    elif where is None:
        _scatter(planes(y), planes(indices), planes(x))
    else:
        _scatter_where(planes(y), planes(where), planes(indices), planes(x))
    return x


def refuse_max(dims: AnyPool, dtype: np.dtype) -> str:
    """max_pool counts positions in a plane with 32 bits while it compares, in vectors that only a compiler makes."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return "its vectors exist only as machine code, and NUMBA_DISABLE_JIT is set"
    return floats_only(dims, dtype) or ("it counts with 32 bits, not 2^31 cells" if prod(dims.input) >= 2**31 else "")


@njit
def _max_pool(x, y, at, source, target, cells, steps, across, L, floor):
    rows = y.size // max(target[2], 1)
    each((rows + ROWS - 1) // ROWS, _max_rows, (rows, x, y, at, source, target, cells, steps, across, L, floor))


@njit(inner=True)
def _max_rows(t, rows, x, y, at, source, target, cells, steps, across, L, floor):
    """Task t: ROWS rows of y, counted over planes and depths."""
    D, H, W = source
    OD, OH, OW = target
    start, kind, taps = across
    begin, end = t * ROWS, min(t * ROWS + ROWS, rows)
    plane, od, oh = begin // (OD * OH), begin // OH % OD, begin % OH  # counted on below: a division costs as much as a vector
    for row in range(begin, end):
        first = (cells[0, od] * H + cells[2, oh]) * W
        depths, heights = (cells[1, od], steps[0] * H * W), (cells[3, oh], steps[1] * W)
        for o in range(0, OW, L):
            max_tile(x, plane * D * H * W, depths, heights, first, (taps, steps[2], start), W, kind, cells, o, OW - o, y, at,
                     row * OW + o, floor)
        oh += 1
        if oh == OH:
            oh, od = 0, od + 1
            if od == OD:
                od, plane = 0, plane + 1


@njit
def _gather(x, at, y):
    each(x.shape[0], _gather_plane, (x, at, y))


@njit(inner=True)
def _gather_plane(plane, x, at, y):
    for o in range(at.shape[1]):
        y[u(plane), u(o)] = x[u(plane), u(at[u(plane), u(o)])]


@njit
def _scatter(y, at, x):
    each(x.shape[0], _scatter_plane, (y, at, x))


@njit(inner=True)
def _scatter_plane(plane, y, at, x):
    x[plane, :] = 0
    for o in range(at.shape[1]):
        x[u(plane), u(at[u(plane), u(o)])] += y[u(plane), u(o)]


@njit
def _scatter_where(y, where, at, x):
    each(x.shape[0], _scatter_plane_where, (y, where, at, x))


@njit(inner=True)
def _scatter_plane_where(plane, y, where, at, x):
    x[plane, :] = 0
    for o in range(at.shape[1]):
        x[u(plane), u(at[u(plane), u(o)])] += y[u(plane), u(o)] if where[u(plane), u(o)] > 0 else y.dtype.type(0)


@lru_cache(maxsize=1024)
def _across(dims: AnyPool) -> tuple[int, int, int]:
    """Along a row: where the first window starts, padding counted, how they lie (tile.py), and the most cells of one."""
    if not isinstance(dims, PoolDims):
        return 0, APART, max(dims.windows[-1][1], default=0)
    return -dims.padding[-1][0], {1: BESIDE, 2: BESIDE2}.get(dims.stride[-1], APART), dims.kernel[-1]
