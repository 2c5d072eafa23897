"""The logistic function and its gradient, each in one pass.

    y = 1/(1 + e) where x >= 0, e/(1 + e) below, e = exp(-|x|), which never overflows        dx = g y (1 - y)

As array expressions these are eight passes and three. The exponential is plain arithmetic that a compiler turns into vectors:

    exp(z) = 2^n exp(r),  n = z/ln 2 to the nearest,  r = z - n ln 2 in [-ln 2 / 2, ln 2 / 2]

by Taylor's series to r^7, whose rest is below r^8/8! = 5.2e-9, a tenth of the last digit of float32.
Read next: ../ops/pointwise.py.
"""

from __future__ import annotations

from math import factorial, log
from typing import Any

import numpy as np

from ..registry import Kernel, register
from . import gpu
from .geometry import floats_only
from .invoke import each
from .jit import njit

u = np.uintp  # an unsigned index spares the test for Python's negative ones, which keeps a loop out of vectors
i32, f32 = np.int32, np.float32
BLOCK = 1 << 13  # elements a task
ALONE = 1 << 15  # elements, up to which one thread is done before a second one has begun

LEAST = f32(-104.0)  # below it exp rounds to 0
PER_LN2 = f32(1 / log(2))
# a sum in [2^23, 2^24) has no digits after the point: adding 1.5 * 2^23 rounds n to the last bits of the number
ROUND, ROUND_BITS = f32(1.5 * 2**23), i32(0x4B400000)
LN2_HIGH = f32(355 / 512)  # so few digits that n times it is exact
LN2_LOW = f32(log(2) - 355 / 512)
C2, C3, C4, C5, C6, C7 = (f32(1 / factorial(k)) for k in range(2, 8))
ULP = 3.0  # the forward pass is off by fewer units in the last place; all of them, up to float32's ends, were tried


def sigmoid_reference(x: Any, shape: tuple[int, ...]) -> Any:
    """1 / (1 + exp(-x)) by array expressions."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e).astype(x.dtype) / (1 + e)


def sigmoid(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """1 / (1 + exp(-x)) in one pass of vectors, in parallel blocks."""
    y = np.empty(shape, x.dtype)
    _sigmoid(np.ascontiguousarray(x).reshape(-1), y.reshape(-1))
    return y


@njit
def _sigmoid(x, y):
    if x.size <= ALONE:
        _sigmoid_block(0, ALONE, x, y)
    else:
        each((x.size + BLOCK - 1) // BLOCK, _sigmoid_block, (BLOCK, x, y))


@njit(inner=True, fastmath={"contract", "nsz"}, error_model="numpy")  # the sums that round must stay in their order
def _sigmoid_block(block, size, x, y):
    one, bias, digits = f32(1), i32(127), i32(23)  # of the exponent of a float32: where 2^0 stands, and above which digits
    for i in range(block * size, min(block * size + size, x.size)):
        v = x[u(i)]
        z = -abs(v)
        z = LEAST if z < LEAST else z  # NaN stays
        t = z * PER_LN2 + ROUND
        n = t - ROUND
        r = z - n * LN2_HIGH - n * LN2_LOW
        p = one + r * (one + r * (C2 + r * (C3 + r * (C4 + r * (C5 + r * (C6 + r * C7))))))
        k = i32(f32(t).view(i32) - ROUND_BITS)
        half = i32(k >> i32(1))  # 2^k in two factors, as the result may be below the least power of two
        e = p * i32((half + bias) << digits).view(f32) * i32((k - half + bias) << digits).view(f32)
        y[u(i)] = (one if v >= 0 else e) / (one + e)


def sigmoid_grad_reference(g: Any, y: Any, shape: tuple[int, ...]) -> Any:
    """g y (1 - y) by array expressions."""
    return g * (y * (1 - y))


def sigmoid_grad(g: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """g y (1 - y) in one pass."""
    dx = np.empty(shape, g.dtype)
    _sigmoid_grad(np.ascontiguousarray(g).reshape(-1), np.ascontiguousarray(y).reshape(-1), dx.reshape(-1))
    return dx


@njit
def _sigmoid_grad(g, y, dx):
    if dx.size <= ALONE:
        _sigmoid_grad_block(0, ALONE, g, y, dx)
    else:
        each((dx.size + BLOCK - 1) // BLOCK, _sigmoid_grad_block, (BLOCK, g, y, dx))


@njit(inner=True, fastmath=False)  # the order of the reference
def _sigmoid_grad_block(block, size, g, y, dx):
    one = dx.dtype.type(1)
    for i in range(block * size, min(block * size + size, dx.size)):
        dx[u(i)] = g[u(i)] * (y[u(i)] * (one - y[u(i)]))


def refuse_doubles(shape: tuple[int, ...], dtype: np.dtype) -> str:
    """The series ends where float32 does."""
    return "" if dtype == np.float32 else f"its exponential has the digits of float32, not those of {np.dtype(dtype)}"


LADDER = (
    # a name of its own: who pins "direct" means loops that take float64 too
    Kernel("sigmoid", "reference", sigmoid_reference),
    Kernel("sigmoid", "series", sigmoid, exact=False, bound=ULP, refuse=refuse_doubles),
    Kernel("sigmoid_grad", "reference", sigmoid_grad_reference),
    Kernel("sigmoid_grad", "direct", sigmoid_grad, refuse=floats_only),
    # on a GPU they are CuPy's expressions
    Kernel("sigmoid", "cuda", sigmoid_reference, "cuda", gpu.refuse),
    Kernel("sigmoid_grad", "cuda", sigmoid_grad_reference, "cuda", gpu.refuse),
)
register(*LADDER)
