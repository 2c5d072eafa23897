"""Normalisation on a GPU: a block of threads for each sum, then a thread for each element.

    norm        a block for each s: its mean and variance        a thread for each x[i]: (x - mean) * r * w + b
    norm_grad   a block for each s: sums of g w and g w xhat      a block for each weight: sums of g xhat and g
                a thread for each x[i]: r (g w - sum(g w)/M - xhat sum(g w xhat)/M)         r = 1/sqrt(var + eps)

The threads of a block walk its values side by side, each with a sum of its own in float64, and add these up in shared memory
as a tree: no atomics, one order, the same bits every time. A batch norm of few channels leaves multiprocessors without a
block. Read next: direct.py, the same on a CPU.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import float64, int32, int64

from ...dims import NormDims
from .. import gpu
from ..gpu import cuda
from ..gpu_sums import add_up
from ..pointwise import relu_grad_cuda

THREADS = 256  # a power of two, for the tree
BOTH = 2 * THREADS  # two sums for each thread, in shared memory


def norm(x: Any, w: Any, b: Any, dims: NormDims, eps: float, given: tuple[Any, Any] | None = None,
         relu: bool = False) -> tuple[Any, Any, Any]:
    """Blocks for the moments, threads for the elements: x is read twice and written once."""
    xp, flat = gpu.xp(), gpu.flat
    moments, scaled, _, _, _ = _kernels(x.dtype.name)
    x, y, sizes = flat(x), xp.empty(x.shape, x.dtype), gpu.table(tuple(dims))
    if given is None:
        mean, var = xp.empty(dims.S, x.dtype), xp.empty(dims.S, x.dtype)
        gpu.launch(moments, dims.S, gpu.threads(THREADS), mean, var, x, sizes)
    else:
        mean, var = given
    gpu.launch_each(scaled, y, x, flat(w), flat(b), flat(mean), flat(var), np.float64(eps), sizes, int(relu))
    return y, mean, var


def norm_grad(g: Any, x: Any, w: Any, mean: Any, var: Any, dims: NormDims, eps: float, fixed: bool,
              y: Any = None) -> tuple[Any, Any, Any]:
    """Blocks for the sums over each s and each weight, threads for dx; before a relu, threads for what it lets through."""
    g = g if y is None else relu_grad_cuda(g, y, g.shape)
    xp, flat = gpu.xp(), gpu.flat
    _, _, sums, weights, grad = _kernels(x.dtype.name)
    g, x, w, mean, var, sizes, at = *map(flat, (g, x, w, mean, var)), gpu.table(tuple(dims)), np.float64(eps)
    dx, dw, db = xp.empty(x.shape, x.dtype), xp.empty(w.size, x.dtype), xp.empty(w.size, x.dtype)
    gh = xp.zeros(2 * dims.S, np.float64)
    if not fixed:  # with given statistics, nothing flows through them
        gpu.launch(sums, dims.S, gpu.threads(THREADS), gh, g, x, w, mean, var, at, sizes)
    gpu.launch(weights, dims.P * dims.K, gpu.threads(THREADS), dw, db, g, x, mean, var, at, sizes)
    gpu.launch_each(grad, dx, g, x, w, mean, var, gh, at, sizes)
    return dx, dw, db


def grad_scratch(dims: NormDims, dtype: np.dtype) -> int:
    """Sums of g w and g w xhat for each s, in float64."""
    return 2 * 8 * dims.S


@cache
def _kernels(dtype: str) -> tuple[gpu.Function, ...]:
    real = gpu.real(dtype)

    @gpu.jit
    def moments(mean, var, x, sizes):
        """Of d = x - pivot, one of the values: mean = pivot + avg(d), var = avg(d^2) - avg(d)^2."""
        both = cuda.shared.array(BOTH, float64)
        s, t, T = int32(cuda.blockIdx.x), int32(cuda.threadIdx.x), int32(cuda.blockDim.x)
        N, S, M = sizes[0], sizes[1], sizes[2] * sizes[3]
        pivot, total, squares = float64(x[int64(s) * M]), float64(0), float64(0)
        for q in range(t, N * M, T):
            d = float64(x[(int64(q // M) * S + s) * M + q % M]) - pivot
            total += d
            squares += d * d
        both[t], both[T + t] = total, squares
        add_up(both, int32(2), t, T)
        if t == 0:
            away = both[0] / (N * M)
            spread = both[T] / (N * M) - away * away
            mean[s] = real(pivot + away)
            var[s] = real(0) if spread < 0 else real(spread)

    @gpu.jit
    def scaled(y, size, x, w, b, mean, var, eps, sizes, relu):
        """y and x, `size` elements."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < size:
            S, K, L, P = sizes[1], sizes[2], sizes[3], sizes[4]
            s = i // (K * L) % S
            weight = s % P * K + i // L % K
            v = (x[i] - mean[s]) * real(1.0 / math.sqrt(float64(var[s]) + eps)) * w[weight] + b[weight]
            y[i] = real(0) if relu and v < real(0) else v

    @gpu.jit
    def sums(gh, g, x, w, mean, var, eps, sizes):
        """gh (2, S): of g w, and of g w xhat, over all that has the mean s."""
        both = cuda.shared.array(BOTH, float64)
        s, t, T = int32(cuda.blockIdx.x), int32(cuda.threadIdx.x), int32(cuda.blockDim.x)
        N, S, K, L, P = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
        M, m, r = K * L, float64(mean[s]), 1.0 / math.sqrt(float64(var[s]) + eps)
        total, along = float64(0), float64(0)
        for q in range(t, N * M, T):
            i = (int64(q // M) * S + s) * M + q % M
            h = float64(g[i]) * float64(w[s % P * K + q % M // L])
            total += h
            along += h * ((float64(x[i]) - m) * r)
        both[t], both[T + t] = total, along
        add_up(both, int32(2), t, T)
        if t == 0:
            gh[s] = both[0]
            gh[S + s] = both[T]

    @gpu.jit
    def weights(dw, db, g, x, mean, var, eps, sizes):
        """dw and db (P*K,): of g xhat and of g, over all that shares a weight."""
        both = cuda.shared.array(BOTH, float64)
        j, t, T = int32(cuda.blockIdx.x), int32(cuda.threadIdx.x), int32(cuda.blockDim.x)
        N, S, K, L, P = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
        R = S // P  # so many s in an image share it
        total, along = float64(0), float64(0)
        for q in range(t, N * R * L, T):
            s = q // L % R * P + j // K
            i = ((int64(q // (L * R)) * S + s) * K + j % K) * L + q % L
            total += float64(g[i])
            along += float64(g[i]) * (float64(x[i]) - float64(mean[s])) / math.sqrt(float64(var[s]) + eps)
        both[t], both[T + t] = along, total
        add_up(both, int32(2), t, T)
        if t == 0:
            dw[j] = real(both[0])
            db[j] = real(both[T])

    @gpu.jit
    def grad(dx, size, g, x, w, mean, var, gh, eps, sizes):
        """dx = r (g w - gh/M - xhat ghx/M)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < size:
            S, K, L, P = sizes[1], sizes[2], sizes[3], sizes[4]
            s, M = i // (K * L) % S, float64(sizes[0] * K * L)
            r = 1.0 / math.sqrt(float64(var[s]) + eps)
            h, xhat = float64(g[i]) * float64(w[s % P * K + i // L % K]), (float64(x[i]) - float64(mean[s])) * r
            dx[i] = real(r * (h - gh[s] / M - xhat * (gh[S + s] / M)))

    return moments, scaled, sums, weights, grad
