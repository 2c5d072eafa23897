"""A linear layer on arrays: one trilinear form, three matrix products.

    T(x, w, y) = sum  x[n, i] * w[o, i] * y[n, o]        x (N, I),  w (O, I),  y (N, O),  dims = (N, I, O)

BLAS packs the weights before it multiplies, which pays where many images share them. On a small batch each weight takes part
in a handful of multiply-adds, and to fetch it costs more than they do: `thin` walks the weights as they lie, once, by all
threads. Who owns a piece of the result adds it up alone, in an order that the sizes decide: the same bits on any number.
Read next: ../blas.py, what the larger products go to.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..blas import matmul
from ..dims import ConvDims, conv_dims
from ..registry import Kernel, register
from . import gpu
from .geometry import floats_only
from .gpu_graph import in_graph
from .invoke import each
from .jit import njit

u = np.uintp  # an unsigned index spares the test for Python's negative ones, which keeps a loop out of vectors
MOST = 16  # images, from which BLAS's packing pays
LEAST = 1 << 17  # weights, below which one thread has them in its cache, and BLAS needs no compiling
ROWS = 32  # of weights, a task
COLUMNS = 64  # of weights, a task
FIVE = 5  # images at a time share a vector of weights: their sums fit the registers of any host, and 10 are two of them


def linear(x: Any, w: Any, dims: tuple[int, int, int]) -> Any:
    """y (N, O): (N, I) (I, O)"""
    return matmul(x, w.T)


def linear_input_grad(y: Any, w: Any, dims: tuple[int, int, int]) -> Any:
    """x (N, I): (N, O) (O, I)"""
    return matmul(y, w)


def linear_weight_grad(x: Any, y: Any, dims: tuple[int, int, int]) -> Any:
    """w (O, I): (O, N) (N, I)"""
    return matmul(y.T, x)


def linear_cuda(x: Any, w: Any, dims: tuple[int, int, int]) -> Any:
    """y (N, O): cuBLAS's. In a graph, where CuPy refuses to record cuBLAS, the convolution of images of one pixel."""
    if not in_graph():
        return linear(x, w, dims)
    return _tiled().conv(x[..., None], w[..., None], _pixels(dims))[..., 0]


def linear_input_grad_cuda(y: Any, w: Any, dims: tuple[int, int, int]) -> Any:
    """x (N, I), likewise."""
    if not in_graph():
        return linear_input_grad(y, w, dims)
    return _tiled().conv_input_grad(y[..., None], w[..., None], _pixels(dims))[..., 0]


def linear_weight_grad_cuda(x: Any, y: Any, dims: tuple[int, int, int]) -> Any:
    """w (O, I), likewise."""
    if not in_graph():
        return linear_weight_grad(x, y, dims)
    return _tiled().conv_weight_grad(x[..., None], y[..., None], _pixels(dims))[..., 0]


def _pixels(dims: tuple[int, int, int]) -> ConvDims:
    N, I, O = dims
    return conv_dims((N, I, 1), (O, I, 1))


def _tiled() -> Any:
    from .conv import cuda_tiled  # here: it brings the ladder of convolution along

    return cuda_tiled


def thin(x: np.ndarray, w: np.ndarray, dims: tuple[int, int, int], bias: np.ndarray | None = None,
         relu: bool = False) -> np.ndarray:
    """y (N, O): a row of weights meets five images at a time; the bias is where their sums begin."""
    y = np.empty((len(x), len(w)), x.dtype)
    _dot_rows(np.ascontiguousarray(x), np.ascontiguousarray(w), np.zeros(len(w), x.dtype) if bias is None else bias, y,
              x.dtype.type(0 if relu else -np.inf))
    return y


def thin_input_grad(y: np.ndarray, w: np.ndarray, dims: tuple[int, int, int]) -> np.ndarray:
    """x (N, I): a task owns some columns, adds eight rows of weights at a time to them, and keeps them in its cache."""
    x = np.empty((dims[0], dims[1]), y.dtype)
    _mix_columns(np.ascontiguousarray(y), np.ascontiguousarray(w), x)
    return x


def thin_weight_grad(x: np.ndarray, y: np.ndarray, dims: tuple[int, int, int]) -> np.ndarray:
    """w (O, I): each row is a sum of images, five at a time, written while it is in cache."""
    w = np.empty((dims[2], dims[1]), x.dtype)
    _sum_images(np.ascontiguousarray(x), np.ascontiguousarray(y), w)
    return w


@njit
def _dot_rows(x, w, b, y, floor):
    each((w.shape[0] + ROWS - 1) // ROWS, _dot_some_rows, (x, w, b, y, floor))


@njit(inner=True)
def _dot_some_rows(task, x, w, b, y, floor):
    N, I = x.shape
    first = task * ROWS
    for o in range(first, min(first + ROWS, w.shape[0])):
        for n0 in range(0, N, FIVE):
            # beyond the last image the last one again
            n1, n2, n3, n4 = min(n0 + 1, N - 1), min(n0 + 2, N - 1), min(n0 + 3, N - 1), min(n0 + 4, N - 1)
            s0 = s1 = s2 = s3 = s4 = x.dtype.type(0)
            for i in range(I):
                v = w[u(o), u(i)]
                s0 += x[u(n0), u(i)] * v
                s1 += x[u(n1), u(i)] * v
                s2 += x[u(n2), u(i)] * v
                s3 += x[u(n3), u(i)] * v
                s4 += x[u(n4), u(i)] * v
            for n, s in ((n0, s0), (n1, s1), (n2, s2), (n3, s3), (n4, s4)):
                s += b[o]
                y[n, o] = floor if s < floor else s


@njit
def _mix_columns(y, w, x):
    each((x.shape[1] + COLUMNS - 1) // COLUMNS, _mix_some_columns, (y, w, x))


@njit(inner=True)
def _mix_some_columns(task, y, w, x):
    N, O = y.shape
    first = task * COLUMNS
    last, rest = min(first + COLUMNS, x.shape[1]), O - O % 8
    x[:, first:last] = 0
    for o in range(0, rest, 8):
        for n in range(N):
            a, b, c, d = y[n, o], y[n, o + 1], y[n, o + 2], y[n, o + 3]
            e, f, g, h = y[n, o + 4], y[n, o + 5], y[n, o + 6], y[n, o + 7]
            for i in range(first, last):
                x[u(n), u(i)] += (a * w[u(o), u(i)] + b * w[u(o + 1), u(i)] + c * w[u(o + 2), u(i)]
                                  + d * w[u(o + 3), u(i)] + e * w[u(o + 4), u(i)] + f * w[u(o + 5), u(i)]
                                  + g * w[u(o + 6), u(i)] + h * w[u(o + 7), u(i)])
    for o in range(rest, O):
        for n in range(N):
            a = y[n, o]
            for i in range(first, last):
                x[u(n), u(i)] += a * w[u(o), u(i)]


@njit
def _sum_images(x, y, w):
    each((w.shape[0] + ROWS - 1) // ROWS, _sum_some_rows, (x, y, w))


@njit(inner=True)
def _sum_some_rows(task, x, y, w):
    N, I = x.shape
    first, rest = task * ROWS, N - N % FIVE
    for o in range(first, min(first + ROWS, w.shape[0])):
        for i in range(I):
            w[u(o), u(i)] = 0
        for n in range(0, rest, FIVE):
            a, b, c, d, e = y[n, o], y[n + 1, o], y[n + 2, o], y[n + 3, o], y[n + 4, o]
            for i in range(I):
                w[u(o), u(i)] += (a * x[u(n), u(i)] + b * x[u(n + 1), u(i)] + c * x[u(n + 2), u(i)]
                                  + d * x[u(n + 3), u(i)] + e * x[u(n + 4), u(i)])
        for n in range(rest, N):
            a = y[n, o]
            for i in range(I):
                w[u(o), u(i)] += a * x[u(n), u(i)]


def refuse_thick(dims: tuple[int, int, int], dtype: np.dtype) -> str:
    """Small batches of floats, and weights that are worth more than one thread."""
    N, I, O = dims
    if why := floats_only(dims, dtype):
        return why
    if not 0 < N <= MOST:
        return f"a batch of {N} is BLAS's: it takes 1 to {MOST}"
    return f"{I * O} weights are too few for more than a thread, it takes {LEAST} and more" if I * O < LEAST else ""


LADDER = (
    Kernel("linear", "reference", linear),
    Kernel("linear", "thin", thin, refuse=refuse_thick, fuses=frozenset({"bias", "relu"})),
    Kernel("linear_input_grad", "reference", linear_input_grad),
    Kernel("linear_input_grad", "thin", thin_input_grad, refuse=refuse_thick),
    Kernel("linear_weight_grad", "reference", linear_weight_grad),
    Kernel("linear_weight_grad", "thin", thin_weight_grad, refuse=refuse_thick),
    # on a GPU the product is cuBLAS
    Kernel("linear", "cuda", linear_cuda, "cuda", gpu.refuse),
    Kernel("linear_input_grad", "cuda", linear_input_grad_cuda, "cuda", gpu.refuse),
    Kernel("linear_weight_grad", "cuda", linear_weight_grad_cuda, "cuda", gpu.refuse),
)
register(*LADDER)
