"""Local response normalisation on a GPU: a thread for each element, which walks the channels around its own.

    y[c] = x[c] * s[c]^-beta                                s[c] = k + alpha sum of x[j]^2,  j = c - before .. c + after
    dx[c] = g[c] s[c]^-beta - 2 alpha beta x[c] sum of h[j] over the windows j that hold c,  h = g x s^(-beta - 1)

Channels lie a plane apart, so that threads side by side read lines side by side, and a window's lines again from the cache:
array expressions pass over memory once for each neighbour. Backwards, h is written by the thread that has s at hand, and a
second launch gathers it: no atomics, and one order of every sum. Read next: ops/norm.py, the same as expressions.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from .. import gpu
from ..gpu import cuda, int32


def response(x: Any, before: int, after: int, alpha: float, beta: float, k: float) -> tuple[Any, Any]:
    """One pass: (y, s) of x (N, C, *spatial); alpha is a factor of the sum, not of the mean."""
    xp, x = gpu.xp(), gpu.flat(x)
    y, s, real = xp.empty(x.shape, x.dtype), xp.empty(x.shape, x.dtype), x.dtype.type
    gpu.launch_each(_kernels(x.dtype.name)[0], y, s, x, *_sizes(x), before, after, real(alpha), real(-beta), real(k))
    return y, s


def response_grad(g: Any, x: Any, s: Any, before: int, after: int, alpha: float, beta: float) -> Any:
    """Two passes: h of each element, then dx, which gathers h. The windows that hold c are c - after .. c + before."""
    xp, (g, x, s), real = gpu.xp(), map(gpu.flat, (g, x, s)), x.dtype.type
    h, straight, dx = (xp.empty(x.shape, x.dtype) for _ in range(3))
    _, parts, gather = _kernels(x.dtype.name)
    gpu.launch_each(parts, straight, h, g, x, s, real(-beta))
    gpu.launch_each(gather, dx, straight, h, x, *_sizes(x), after, before, real(2 * alpha * beta))
    return dx


def grad_scratch(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Bytes of h and of g s^-beta, each the size of x."""
    return 2 * prod(shape) * np.dtype(dtype).itemsize


def _sizes(x: Any) -> tuple[int, int]:
    return x.shape[1], prod(x.shape[2:])


@cache
def _kernels(dtype: str) -> tuple[gpu.Function, ...]:
    real = gpu.real(dtype)

    @gpu.jit
    def forward(y, size, s, x, C, L, before, after, alpha, power, k):
        """y and s, `size` elements, from x (N, C, L)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < size:
            c, total = int32(i // L % C), real(0)
            for d in range(-min(before, c), min(after, C - 1 - c) + 1):
                v = x[int32(i + d * L)]
                total += v * v
            total = k + alpha * total
            s[i] = total
            y[i] = x[i] * total**power

    @gpu.jit
    def parts(straight, size, h, g, x, s, power):
        """straight = g s^-beta and h = straight x / s."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < size:
            v = g[i] * s[i] ** power
            straight[i] = v
            h[i] = v * x[i] / s[i]

    @gpu.jit
    def gather(dx, size, straight, h, x, C, L, before, after, factor):
        """dx = straight - factor x (sum of h around c)."""
        i = int32(cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x)
        if i < size:
            c, total = int32(i // L % C), real(0)
            for d in range(-min(before, c), min(after, C - 1 - c) + 1):
                total += h[int32(i + d * L)]
            dx[i] = straight[i] - factor * x[i] * total

    return forward, parts, gather
