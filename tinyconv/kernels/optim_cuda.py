"""One step of each optimiser on a GPU, in place: a thread for each weight, one launch for each parameter.

The same formulas in the same order as in optim.py, with the same arguments, so that an optimiser is one text for both. State
that a variant does without is an array of size 0, which the kernel is told by a flag and never reads.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from . import gpu
from .gpu import cuda
from .gpu_graph import refuse_recording

THREADS = 256


def sgd(p: Any, g: Any, buf: Any, lr: float, momentum: float, keep: float, decay: float, nesterov: bool) -> None:
    """d = g + decay p;  buf = momentum buf + keep d;  p -= lr buf, or with Nesterov p -= lr (d + momentum buf)."""
    _run(0, p, g, (buf,), (lr, momentum, keep, decay), int(nesterov))


def adagrad(p: Any, g: Any, total: Any, lr: float, decay: float, eps: float) -> None:
    """d = g + decay p;  total += d^2;  p -= lr d / (sqrt(total) + eps)."""
    _run(1, p, g, (total,), (lr, decay, eps))


def rmsprop(p: Any, g: Any, square: Any, mean: Any, buf: Any, lr: float, alpha: float, eps: float, decay: float,
            momentum: float) -> None:
    """square, mean: running averages of d^2 and d = g + decay p;  buf = momentum buf + d / (sqrt(square - mean^2) + eps)."""
    _run(2, p, g, (square, mean, buf), (lr, alpha, 1.0 - alpha, eps, decay, momentum))


def adam(p: Any, g: Any, m: Any, v: Any, top: Any, beta1: float, beta2: float, size: float, root: float, eps: float,
         decay: float, shrink: float) -> None:
    """m, v: running averages of d and d^2, d = g + decay p;  p = shrink p - size m / (root sqrt(v) + eps)."""
    refuse_recording("a step of Adam, whose size counts the steps before it,")
    _run(3, p, g, (m, v, top), (1.0 - beta1, beta2, 1.0 - beta2, size, root, eps, decay, shrink))


def _run(which: int, p: Any, g: Any, state: tuple[Any, ...], numbers: tuple[float, ...], *more: int) -> None:
    block = gpu.threads(THREADS)
    g = gpu.flat(g)
    arrays = [a if a.size else g for a in state]
    flags = [int(a.size > 0) for a in state]
    gpu.launch(_kernels()[which], gpu.cells(p.size, block), block, p.size, p, g, *arrays, *flags, *more,
               *(p.dtype.type(n) for n in numbers))


@cache
def _kernels() -> tuple[gpu.Function, ...]:
    """One text for both dtypes, which the arguments bring along."""

    @gpu.jit
    def sgd(size, p, g, buf, with_buf, nesterov, lr, momentum, keep, decay):
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < size:
            d = g[i] + decay * p[i]
            move = d
            if with_buf:
                buf[i] = momentum * buf[i] + keep * d
                move = d + momentum * buf[i] if nesterov else buf[i]
            p[i] -= lr * move

    @gpu.jit
    def adagrad(size, p, g, total, with_total, lr, decay, eps):
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < size:
            d = g[i] + decay * p[i]
            total[i] += d * d
            p[i] -= lr * d / (math.sqrt(total[i]) + eps)

    @gpu.jit
    def rmsprop(size, p, g, square, mean, buf, with_square, centred, with_buf, lr, alpha, rest, eps, decay, momentum):
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < size:
            d = g[i] + decay * p[i]
            square[i] = alpha * square[i] + rest * d * d
            spread = square[i]
            if centred:
                mean[i] += rest * (d - mean[i])
                spread = spread - mean[i] * mean[i]
            move = d / (math.sqrt(spread) + eps)
            if with_buf:
                move = momentum * buf[i] + move
                buf[i] = move
            p[i] -= lr * move

    @gpu.jit
    def adam(size, p, g, m, v, top, with_m, with_v, amsgrad, rest1, beta2, rest2, step, root, eps, decay, shrink):
        i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        if i < size:
            d = g[i] + decay * p[i]
            m[i] += rest1 * (d - m[i])
            v[i] = beta2 * v[i] + rest2 * d * d
            spread = v[i]
            if amsgrad:
                spread = top[i] if top[i] > spread else spread
                top[i] = spread
            p[i] = shrink * p[i] - step * m[i] / (root * math.sqrt(spread) + eps)

    return sgd, adagrad, rmsprop, adam
