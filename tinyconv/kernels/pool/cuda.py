"""Pooling on a GPU: one thread for each cell of the result, which walks the windows that make it.

    forward     a thread for each window: y[o] of its cells
    backward    a thread for each cell of x: it gathers from the windows that hold it, so nothing is added by two threads

Seen from x, the windows that hold a cell are windows over y (windows.dual), so an adjoint is the same walk over another
table: no atomics, one order of every sum, and the bits of the reference. The table of a geometry is copied to the device once.
Read next: cuda_cellwise.py, the rules that need a window's cells all at once.
"""

from __future__ import annotations

import math
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numba import int32, int64

from ...dims import AnyPool
from .. import gpu
from ..gpu import MOST, cuda
from . import windows

THREADS = 256


def max_pool(x: Any, dims: AnyPool) -> tuple[Any, Any]:
    """A thread for each window: the first of its largest cells, or its first NaN, and where it stands."""
    y, at = gpu.xp().empty(dims.y_shape, x.dtype), gpu.xp().empty(dims.y_shape, np.int64)
    gpu.launch_each(_kernels(x.dtype.name)[0], y, at, gpu.flat(x), forward(dims))
    return y, at


def pool_gather(x: Any, indices: Any, dims: AnyPool) -> Any:
    """A thread for each value: y[o] = x[at[o]]."""
    y = gpu.xp().empty(dims.y_shape, x.dtype)
    gpu.launch_each(_kernels(x.dtype.name)[1], y, gpu.flat(x), gpu.flat(indices), prod(dims.output), prod(dims.input))
    return y


def pool_scatter(y: Any, indices: Any, dims: AnyPool) -> Any:
    """A thread for each cell: it asks the windows that hold it whether they chose it. For indices that lie in their window."""
    x = gpu.xp().empty(dims.x_shape, y.dtype)
    gpu.launch_each(_kernels(y.dtype.name)[2], x, gpu.flat(y), gpu.flat(indices), dual(dims))
    return x


def pool_scatter_anywhere(y: Any, indices: Any, dims: AnyPool) -> Any:
    """A block for each plane, whose threads share out the cells and all read every index: for indices anywhere in the plane."""
    x = gpu.xp().empty(dims.x_shape, y.dtype)
    gpu.launch(_kernels(y.dtype.name)[3], dims.N * dims.C, gpu.threads(THREADS), x, gpu.flat(y), gpu.flat(indices),
               prod(dims.output), prod(dims.input))
    return x


def avg_pool(x: Any, dims: AnyPool, count_include_pad: bool = True, divisor_override: int | None = None) -> Any:
    """A thread for each window: the sum of its cells, divided once."""
    y = gpu.xp().empty(dims.y_shape, x.dtype)
    gpu.launch_each(_kernels(x.dtype.name)[4], y, gpu.flat(x), forward(dims),
                    divisors(dims, count_include_pad, divisor_override))
    return y


def avg_pool_adjoint(y: Any, dims: AnyPool, count_include_pad: bool = True, divisor_override: int | None = None) -> Any:
    """A thread for each cell: its part of every window that holds it."""
    x = gpu.xp().empty(dims.x_shape, y.dtype)
    gpu.launch_each(_kernels(y.dtype.name)[5], x, gpu.flat(y), dual(dims),
                    divisors(dims, count_include_pad, divisor_override))
    return x


def refuse(dims: AnyPool, dtype: np.dtype) -> str:
    """What no pooling on CUDA takes: other types than floats, and more cells than 32 bits count."""
    if max(prod(dims.x_shape), prod(dims.y_shape)) > MOST:
        return f"it counts cells with 32 bits, up to {MOST}"
    return gpu.refuse(dims, dtype)


# tables: source (D, H, W), target (OD, OH, OW), three steps, length L; then for each axis L firsts and L counts

@gpu.remembered(1024)
def forward(dims: AnyPool) -> Any:
    """The cells of x in every window of y, on the device."""
    return _table(windows.forward(dims))


@gpu.remembered(1024)
def dual(dims: AnyPool) -> Any:
    """The windows of y that hold every cell of x, on the device."""
    return _table(windows.dual(dims))


@gpu.remembered(1024)
def divisors(dims: AnyPool, count_include_pad: bool, divisor_override: int | None) -> Any:
    """What window (od, oh, ow) is divided by, as three factors, L of each axis, behind L; on the device."""
    rows = windows.divisors(dims, count_include_pad, divisor_override, np.dtype(np.float64))
    return gpu.table((rows.shape[1], *rows.astype(int).ravel().tolist()))


def _table(there: windows.Windows) -> Any:
    return gpu.table((*there.source, *there.target, *there.steps, there.cells.shape[1], *there.cells.ravel().tolist()))


@gpu.helper
def position(g, i):
    """(plane, od, oh, ow) of cell i of the result, by the geometry's table."""
    OD, OH, OW = g[3], g[4], g[5]
    return int32(i // (OW * OH * OD)), int32(i // (OW * OH) % OD), int32(i // OW % OH), int32(i % OW)


@cache
def _kernels(dtype: str) -> tuple[gpu.Function, ...]:
    real = gpu.real(dtype)

    @gpu.jit
    def largest(y, size, at, x, g):
        """y and at (planes, OD, OH, OW), `size` cells, from x (planes, D, H, W)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        H, W, L = g[1], g[2], g[9]
        plane, od, oh, ow = position(g, i)
        x0 = int32(plane * g[0] * H * W)
        best, most = int32(-1), real(0)
        for kd in range(g[10 + L + od]):
            for kh in range(g[10 + 3 * L + oh]):
                line = int32(((g[10 + od] + kd * g[6]) * H + g[10 + 2 * L + oh] + kh * g[7]) * W + g[10 + 4 * L + ow])
                for kw in range(g[10 + 5 * L + ow]):
                    v = x[int32(x0 + line + kw * g[8])]
                    if best < 0 or ((not (v <= most)) and most == most):  # larger, or NaN; nothing beats a NaN
                        best, most = int32(line + kw * g[8]), v
        y[i] = most
        at[i] = int64(best)

    @gpu.jit
    def gather(y, size, x, at, P, cells):
        """y (planes, P), x (planes, cells)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < size:
            cell = at[i]  # anyone's: nobody looked whether it lies in the plane
            y[i] = x[int64(i // P) * cells + cell] if 0 <= cell and cell < cells else real(math.nan)

    @gpu.jit
    def scatter(x, size, y, at, g):
        """x (planes, D, H, W), `size` cells; the table is the dual one: source is y's, target is x's."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        H, W, L = g[1], g[2], g[9]
        plane, od, oh, ow = position(g, i)
        cell, total = int64(i - plane * g[3] * g[4] * g[5]), real(0)
        for kd in range(g[10 + L + od]):
            for kh in range(g[10 + 3 * L + oh]):
                line = int32(((plane * g[0] + g[10 + od] + kd * g[6]) * H + g[10 + 2 * L + oh] + kh * g[7]) * W
                             + g[10 + 4 * L + ow])
                for kw in range(g[10 + 5 * L + ow]):
                    o = int32(line + kw * g[8])
                    if at[o] == cell:
                        total += y[o]
        x[i] = total

    @gpu.jit
    def scatter_anywhere(x, y, at, P, cells):
        """x (planes, cells), y and at (planes, P): thread t has the cells t, t + T, ..., and no one else writes them."""
        plane, t, T = int32(cuda.blockIdx.x), int32(cuda.threadIdx.x), int32(cuda.blockDim.x)
        for cell in range(t, cells, T):
            x[int64(plane) * cells + cell] = real(0)
        for o in range(P):
            cell = at[int64(plane) * P + o]
            if cell % T == t and 0 <= cell and cell < cells:
                x[int64(plane) * cells + cell] += y[int64(plane) * P + o]

    @gpu.jit
    def average(y, size, x, g, factors):
        """y (planes, OD, OH, OW), `size` cells, from x (planes, D, H, W)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        H, W, L = g[1], g[2], g[9]
        plane, od, oh, ow = position(g, i)
        total = real(0)
        for kd in range(g[10 + L + od]):
            for kh in range(g[10 + 3 * L + oh]):
                line = int32(((plane * g[0] + g[10 + od] + kd * g[6]) * H + g[10 + 2 * L + oh] + kh * g[7]) * W
                             + g[10 + 4 * L + ow])
                for kw in range(g[10 + 5 * L + ow]):
                    total += x[int32(line + kw * g[8])]
        M = factors[0]
        y[i] = total / real(factors[1 + od] * factors[1 + M + oh] * factors[1 + 2 * M + ow])

    @gpu.jit
    def spread(x, size, y, g, factors):
        """x (planes, D, H, W), `size` cells; the table is the dual one: source is y's, target is x's."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i >= size:
            return
        H, W, L = g[1], g[2], g[9]
        plane, od, oh, ow = position(g, i)
        M, total = factors[0], real(0)
        for kd in range(g[10 + L + od]):
            for kh in range(g[10 + 3 * L + oh]):
                d, h = int32(g[10 + od] + kd * g[6]), int32(g[10 + 2 * L + oh] + kh * g[7])
                for kw in range(g[10 + 5 * L + ow]):
                    w = int32(g[10 + 4 * L + ow] + kw * g[8])
                    part = real(factors[1 + d] * factors[1 + M + h] * factors[1 + 2 * M + w])
                    total += y[int32(((plane * g[0] + d) * H + h) * W + w)] / part
        x[i] = total

    return largest, gather, scatter, scatter_anywhere, average, spread
