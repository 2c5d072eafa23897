"""What NumPy does in several passes over a large array, done in one, with the sums that belong to the pass.

    relu_grad        dx = g where y > 0, else 0
    channel_sum      db[c] = sum of g over n, l
    bias_relu_grad   both, of y = max(x + b[c], 0)

for arrays seen as (N, C, L). A channel is summed in blocks that its shape decides, each by one thread, and the blocks in
order, in float64: the same bits on any number of threads. The rows of a linear layer, where L is 1, one thread adds up.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from ..registry import Kernel, register
from . import gpu
from .geometry import floats_only
from .gpu import cuda
from .invoke import each
from .jit import njit

u = np.uintp  # an unsigned index spares the test for Python's negative ones, which keeps a loop out of vectors
SMALL = 1 << 14  # elements, below which NumPy's passes cost less than a launch
BLOCK = 1 << 13  # elements a task: half of a core's first cache
SHORT = 8  # numbers in a row, below which a loop along it is no gain
ORDER = 4.0  # a run is summed in the array's own dtype by many partial sums, the runs in float64


def relu_grad_reference(g: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """g where y > 0, else 0."""
    return np.where(y > 0, g, g.dtype.type(0))


def relu_grad(g: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """g where y > 0, else 0: one pass, in parallel blocks."""
    x = np.empty(shape, g.dtype)
    _relu_grad(np.ascontiguousarray(g).reshape(-1), np.ascontiguousarray(y).reshape(-1), x.reshape(-1))
    return x


@njit
def _relu_grad(g, y, x):
    each((x.size + BLOCK - 1) // BLOCK, _relu_grad_block, (g, y, x))


@njit(inner=True)
def _relu_grad_block(block, g, y, x):
    for i in range(block * BLOCK, min(block * BLOCK + BLOCK, x.size)):
        x[u(i)] = g[u(i)] if y[u(i)] > 0 else x.dtype.type(0)


def channel_sum_reference(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum over everything but the channels: (N, C, *spatial) -> (C,)."""
    return g.sum((0, *range(2, g.ndim)), dtype=np.float64).astype(g.dtype)


def channel_sum(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One pass in memory order; NumPy sums rows of rows, one short row at a time."""
    N, C, L = _three(shape)
    db = np.empty(C, g.dtype)
    if L == 1:
        _row_sum(np.ascontiguousarray(g).reshape(N, C), np.zeros(C), db)
    else:
        _channel_sum(np.ascontiguousarray(g).reshape(N, C, L), np.empty((_blocks(N, C * L), C)), db)
    return db


@njit
def _channel_sum(g, parts, db):
    each(parts.shape[0], _channel_part, (g, parts))
    _add_up(parts, db)


@njit(inner=True)
def _add_up(parts, db):
    """The blocks in order, into the first of them: channels are neighbours, and so a vector."""
    for t in range(1, parts.shape[0]):
        for c in range(db.size):
            parts[u(0), u(c)] += parts[u(t), u(c)]
    for c in range(db.size):
        db[u(c)] = parts[u(0), u(c)]


@njit(inner=True)
def _channel_part(t, g, parts):
    N, C, B = g.shape[0], g.shape[1], parts.shape[0]
    for c in range(C):
        parts[t, c] = 0.0
    for n in range(N * t // B, N * (t + 1) // B):
        for c in range(C):
            s = g.dtype.type(0)
            for i in range(g.shape[2]):
                s += g[n, c, i]
            parts[t, c] += s


@njit
def _row_sum(g, sums, db):
    for n in range(g.shape[0]):
        for c in range(g.shape[1]):
            sums[u(c)] += g[u(n), u(c)]
    db[:] = sums


def bias_relu_grad_reference(g: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(dx, db) of max(x + b, 0): the masked g, and its sum over everything but the channels."""
    dx = relu_grad_reference(g, y, shape)
    return dx, channel_sum_reference(dx, shape)


def bias_relu_grad(g: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One pass: what is let through is stored and summed at once."""
    N, C, L = three = _three(shape)
    dx, db = np.empty(shape, g.dtype), np.empty(C, g.dtype)
    g, y = np.ascontiguousarray(g), np.ascontiguousarray(y)
    if L == 1:
        _row_bias_relu_grad(g.reshape(N, C), y.reshape(N, C), dx.reshape(N, C), np.zeros(C), db)
    else:
        parts = np.empty((_blocks(N, C * L), C))
        _bias_relu_grad(g.reshape(three), y.reshape(three), dx.reshape(three), parts, db)
    return dx, db


@njit
def _bias_relu_grad(g, y, dx, parts, db):
    each(parts.shape[0], _bias_relu_part, (g, y, dx, parts))
    _add_up(parts, db)


@njit(inner=True)
def _bias_relu_part(t, g, y, dx, parts):
    N, C, L = g.shape
    B, zero = parts.shape[0], g.dtype.type(0)
    for c in range(C):
        parts[t, c] = 0.0
    for n in range(N * t // B, N * (t + 1) // B):
        for c in range(C):
            s = zero
            for i in range(L):
                v = g[n, c, i] if y[n, c, i] > zero else zero
                dx[n, c, i] = v
                s += v
            parts[t, c] += s


@njit
def _row_bias_relu_grad(g, y, dx, sums, db):
    for n in range(g.shape[0]):
        for c in range(g.shape[1]):
            v = g[u(n), u(c)] if y[u(n), u(c)] > 0 else g.dtype.type(0)
            dx[u(n), u(c)] = v
            sums[u(c)] += v
    db[:] = sums


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(N, C, L) of (N, C, *spatial)."""
    return shape[0], shape[1], prod(shape[2:])


def _blocks(N: int, image: int) -> int:
    """Blocks of whole images of some BLOCK elements, 64 at most, whatever the number of threads."""
    return max(1, min(N, 64, N * image // BLOCK))


def relu_grad_cuda(g: Any, y: Any, shape: tuple[int, ...]) -> Any:
    """g where y > 0, else 0: a thread for each element, one pass where CuPy makes a mask first."""
    x = gpu.xp().empty(shape, g.dtype)
    gpu.launch_each(_relu_grad_kernel(g.dtype.name), x, gpu.flat(g), gpu.flat(y))
    return x


def bias_relu_grad_cuda(g: Any, y: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """(dx, db) of max(x + b, 0): the masked g in one pass, and its sum over everything but the channels in another."""
    dx = relu_grad_cuda(g, y, shape)
    return dx, channel_sum_reference(dx, shape)


@cache
def _relu_grad_kernel(dtype: str) -> gpu.Function:
    real = gpu.real(dtype)

    @gpu.jit
    def relu_grad(x, size, g, y):
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < size:
            x[i] = g[i] if y[i] > real(0) else real(0)

    return relu_grad


def refuse_small(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """Compiled loops take large arrays of floats."""
    size = prod(shape)
    return floats_only(shape, dtype) or (
        f"{size} elements are too few to be worth a launch, which pays from {SMALL}" if size < SMALL else "")


def refuse_short(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """The loops over (N, C, L) run along L, or where that is 1 along C, which is no launch."""
    L = prod(shape[2:])
    if L == 1:
        return floats_only(shape, dtype)
    return refuse_small(shape, dtype) or (
        f"rows of {L} are too short for vectors, it takes 1, or {SHORT} and more" if L < SHORT else "")


LADDER = (
    Kernel("relu_grad", "reference", relu_grad_reference),
    Kernel("relu_grad", "direct", relu_grad, refuse=refuse_small),
    Kernel("channel_sum", "reference", channel_sum_reference),
    Kernel("channel_sum", "direct", channel_sum, exact=False, bound=ORDER, refuse=refuse_short),
    Kernel("bias_relu_grad", "reference", bias_relu_grad_reference),
    Kernel("bias_relu_grad", "direct", bias_relu_grad, exact=False, bound=ORDER, refuse=refuse_short),
    # on a GPU; each refuses where there is none. What CuPy does in one pass over memory is left to it
    Kernel("relu_grad", "cuda", relu_grad_cuda, "cuda", gpu.refuse),
    Kernel("channel_sum", "cuda", channel_sum_reference, "cuda", gpu.refuse),
    Kernel("bias_relu_grad", "cuda", bias_relu_grad_cuda, "cuda", gpu.refuse),
)
register(*LADDER)
