"""What NumPy does in several passes over a large array, done in one.

`relu_grad` lets a gradient through where relu's result is positive. NumPy writes a mask, then walks it with a branch.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import prange

from ..registry import Kernel, register
from . import gpu
from .gpu import cuda
from .jit import njit

SMALL = 1 << 14  # elements, below which NumPy's two passes cost less than a launch
BLOCK = 1 << 13  # elements a task: half of a core's first cache


def relu_grad_reference(g: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """g where y > 0, else 0."""
    return np.where(y > 0, g, g.dtype.type(0))


def relu_grad(g: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """g where y > 0, else 0: one pass, in parallel blocks."""
    x = np.empty(shape, g.dtype)
    _relu_grad(np.ascontiguousarray(g).reshape(-1), np.ascontiguousarray(y).reshape(-1), x.reshape(-1))
    return x


@njit(parallel=True)
def _relu_grad(g, y, x):
    for block in prange((x.size + BLOCK - 1) // BLOCK):
        first = np.int64(block) * BLOCK
        for i in range(first, min(first + BLOCK, x.size)):
            x[i] = g[i] if y[i] > 0 else x.dtype.type(0)


def relu_grad_cuda(g: Any, y: Any, shape: tuple[int, ...]) -> Any:
    """g where y > 0, else 0: a thread for each element, one pass where CuPy makes a mask first."""
    x, block = gpu.xp().empty(shape, g.dtype), gpu.threads(256)
    gpu.launch(_relu_grad_kernel(g.dtype.name), gpu.cells(x.size, block), block, x, x.size, gpu.flat(g), gpu.flat(y))
    return x


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
    size = int(np.prod(shape))
    if dtype not in (np.float32, np.float64):
        return f"it takes float32 and float64, not {dtype}"
    return f"{size} elements are too few to be worth a launch, which pays from {SMALL}" if size < SMALL else ""


LADDER = (
    Kernel("relu_grad", "reference", relu_grad_reference),
    Kernel("relu_grad", "direct", relu_grad, refuse=refuse_small),
    Kernel("relu_grad", "cuda", relu_grad_cuda, "cuda", gpu.refuse),
)
register(*LADDER)
