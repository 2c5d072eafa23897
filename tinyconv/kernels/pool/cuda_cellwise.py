"""Poolings on a GPU whose rule looks at a window's cells more than once: median, stochastic, even ties, Lp.

A thread has one window (or, backwards, one cell of x), and no memory to list its cells in: it walks them again instead. The
k-th cell of a window is found from k by division, so that every rule is one loop over k.

    median      the cell that (n - 1)//2 others come before, in order of size and then of position: n^2 comparisons
    even ties   a share for each window first, then each cell gathers those of the windows whose maximum it ties
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import float64, int32, int64

from ...dims import AnyPool
from .. import gpu
from ..gpu import cuda
from .cuda import dual, forward, position


def median_pool(x: Any, dims: AnyPool) -> tuple[Any, Any]:
    """A thread for each window: the cell of the middle rank, ranks by counting."""
    y, at = gpu.xp().empty(dims.y_shape, x.dtype), gpu.xp().empty(dims.y_shape, np.int64)
    gpu.launch_each(_kernels(x.dtype.name)[0], y, at, gpu.flat(x), forward(dims))
    return y, at


def stochastic_pool(x: Any, u: Any, dims: AnyPool) -> tuple[Any, Any]:
    """A thread for each window: a running sum of max(x, 0) up to u times the total."""
    y, at = gpu.xp().empty(dims.y_shape, x.dtype), gpu.xp().empty(dims.y_shape, np.int64)
    gpu.launch_each(_kernels(x.dtype.name)[1], y, at, gpu.flat(x), gpu.flat(u), forward(dims))
    return y, at


def pool_even_gather(u: Any, x: Any, y: Any, dims: AnyPool) -> Any:
    """A thread for each window: the mean of u over the tied maxima."""
    out = gpu.xp().empty(dims.y_shape, u.dtype)
    gpu.launch_each(_kernels(u.dtype.name)[2], out, gpu.flat(u), gpu.flat(x), gpu.flat(y), forward(dims), 1)
    return out


def pool_even_scatter(g: Any, x: Any, y: Any, dims: AnyPool) -> Any:
    """A thread for each window divides g among the ties; then one for each cell gathers its shares."""
    share, out = gpu.xp().empty(dims.y_shape, g.dtype), gpu.xp().empty(dims.x_shape, g.dtype)
    _, _, even, even_back, _, _ = _kernels(g.dtype.name)
    gpu.launch_each(even, share, gpu.flat(g), gpu.flat(x), gpu.flat(y), forward(dims), 0)
    gpu.launch_each(even_back, out, share, gpu.flat(x), gpu.flat(y), dual(dims))
    return out


def lp_pool(x: Any, dims: AnyPool, p: float) -> Any:
    """A thread for each window: powers and their sum in float64, and the root."""
    y = gpu.xp().empty(dims.y_shape, x.dtype)
    gpu.launch_each(_kernels(x.dtype.name)[4], y, gpu.flat(x), forward(dims), np.float64(p))
    return y


def lp_pool_grad(x: Any, y: Any, g: Any, dims: AnyPool, p: float) -> Any:
    """A thread for each cell: sign(x) times the sum of g (|x|/y)^(p-1) over the windows that hold it, in float64."""
    out = gpu.xp().empty(dims.x_shape, x.dtype)
    gpu.launch_each(_kernels(x.dtype.name)[5], out, gpu.flat(x), gpu.flat(y), gpu.flat(g), dual(dims), np.float64(p))
    return out


@gpu.helper
def count(g, o):
    """How many cells window o holds, o counted over planes and positions."""
    L, (_, od, oh, ow) = g[9], position(g, o)
    return int32(g[10 + L + od] * g[10 + 3 * L + oh] * g[10 + 5 * L + ow])


@gpu.helper
def cell(g, o, k):
    """The position in its plane of the k-th cell of window o, in row-major order."""
    L, (_, od, oh, ow) = g[9], position(g, o)
    wide, high = g[10 + 5 * L + ow], g[10 + 3 * L + oh]
    d = g[10 + od] + k // (wide * high) * g[6]
    h = g[10 + 2 * L + oh] + k // wide % high * g[7]
    return int32((d * g[1] + h) * g[2] + g[10 + 4 * L + ow] + k % wide * g[8])


@gpu.helper
def plane(g, o):
    """Where the plane of window o starts among the cells."""
    return int32(position(g, o)[0] * (g[0] * g[1] * g[2]))


@gpu.helper
def tied(v, top):
    """Whether a cell is the maximum: equal, or both NaN."""
    return v == top or (v != v and top != top)


@cache
def _kernels(dtype: str) -> tuple[gpu.Function, ...]:
    real = gpu.real(dtype)

    @gpu.jit
    def median(y, size, at, x, g):
        """y and at, `size` windows; x."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        n, x0, best, lost = count(g, i), plane(g, i), int32(0), False
        for k in range(n):
            here = cell(g, i, k)
            v, rank = x[x0 + here], int32(0)
            for j in range(n):
                other = x[x0 + cell(g, i, j)]
                if other < v or (other == v and j < k):
                    rank = int32(rank + 1)
            if v != v and not lost:
                best, lost = here, True
            if rank == (n - 1) // 2 and v == v and not lost:
                best = here
        y[i] = x[x0 + best]
        at[i] = int64(best)

    @gpu.jit
    def drawn(y, size, at, x, u, g):
        """y and at, `size` windows, each with its number u; x."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        n, x0, best, most, total, lost = count(g, i), plane(g, i), cell(g, i, 0), real(0), float64(0), False
        for k in range(n):
            here = cell(g, i, k)
            v = x[x0 + here]
            if v != v and not lost:
                best, lost = here, True
            if v > most and not lost:
                best, most = here, v
            if v > real(0):
                total += float64(v)
        threshold, s, found = float64(u[i]) * total, float64(0), lost
        for k in range(n):
            here = cell(g, i, k)
            v = x[x0 + here]
            if v > real(0):
                s += float64(v)
            if s > threshold and not found:
                best, found = here, True
        y[i] = x[x0 + best]
        at[i] = int64(best)

    @gpu.jit
    def even(out, size, u, x, y, g, mean):
        """out, `size` windows: the mean of u over the ties of each; or with mean=0 its own u in as many parts."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        x0, ties, total = plane(g, i), int32(0), real(0)
        for k in range(count(g, i)):
            here = x0 + cell(g, i, k)
            if tied(x[here], y[i]):
                ties = int32(ties + 1)
                if mean:
                    total += u[here]
        if not mean:
            total = u[i]
        out[i] = total / real(ties)

    @gpu.jit
    def even_back(out, size, share, x, y, g):
        """out, `size` cells of x, from the windows that hold each (the dual table)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        y0, total = plane(g, i), real(0)
        for k in range(count(g, i)):
            o = y0 + cell(g, i, k)
            if tied(x[i], y[o]):
                total += share[o]
        out[i] = total

    @gpu.jit
    def norm(y, size, x, g, p):
        """y, `size` windows; x."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        x0, total = plane(g, i), float64(0)
        for k in range(count(g, i)):
            v = float64(x[x0 + cell(g, i, k)])
            total += abs(v) if p == 1.0 else v * v if p == 2.0 else abs(v) ** p
        y[i] = real(total if p == 1.0 else math.sqrt(total) if p == 2.0 else total ** (1.0 / p))

    @gpu.jit
    def norm_back(out, size, x, y, g_y, g, p):
        """out, `size` cells of x, from the windows that hold each (the dual table)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        y0, v, total = plane(g, i), float64(x[i]), float64(0)
        sign = 1.0 if v > 0 else -1.0 if v < 0 else v  # NaN stays NaN
        for k in range(count(g, i)):
            o = y0 + cell(g, i, k)
            top = float64(y[o])
            if top != 0.0:
                ratio = abs(v) / top
                total += float64(g_y[o]) * sign * (1.0 if p == 1.0 else ratio if p == 2.0 else ratio ** (p - 1.0))
        out[i] = real(total)

    return median, drawn, even, even_back, norm, norm_back
