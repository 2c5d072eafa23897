"""A linear layer on arrays: one trilinear form, three matrix products.

    T(x, w, y) = sum  x[n, i] * w[o, i] * y[n, o]        x (N, I),  w (O, I),  y (N, O),  dims = (N, I, O)

BLAS packs the weights before it multiplies, which pays where many images share them. On a small batch each weight takes part
in a handful of multiply-adds, and to fetch it costs more than they do: `thin` walks the weights as they lie, once, by all
threads. Who owns a piece of the result adds it up alone, in an order that the sizes decide: the same bits on any number.
Read next: linear_tiles.py, its tiles; ../blas.py, what the larger products go to.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ..blas import matmul
from ..dims import ConvDims, conv_dims
from ..registry import Kernel, register
from . import gpu
from .emit import lanes
from .geometry import floats_only
from .gpu_graph import in_graph
from .invoke import share
from .linear_tiles import GRADIENT, add_up, depth, forward, images, input_grad, stretches, weight_grad, width
from .scratch import scratch

MOST = 16  # images, from which BLAS's packing pays
LEAST = 1 << 13  # weights, below which BLAS is as fast and needs no compiling
ALONE = 1 << 19  # multiply-adds, below which one thread has done them before another is awake


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
    """y (N, O): vectors of some rows of weights meet those of all images, which lie packed in cache."""
    N, O = len(x), len(w)
    y, P, dtype, workers = np.empty((N, O), x.dtype), images(N), x.dtype, _workers(dims)
    size = workers * _packed(dims, dtype)
    held = scratch("packed", size, dtype)[:size]
    start = np.zeros(O, dtype) if bias is None else bias
    _share(forward, workers, P, x, w, start, held, y, 0.0 if relu else -np.inf, dims, width(P, dtype.itemsize))
    return y


def thin_input_grad(y: np.ndarray, w: np.ndarray, dims: tuple[int, int, int]) -> np.ndarray:
    """x (N, I): vectors of some columns of weights meet a number of y of each image."""
    N, I = len(y), w.shape[1]
    x, P, size = np.empty((N, I), y.dtype), images(N), stretches(len(w)) * N * I
    none = x.reshape(-1)
    sums = none if size == x.size else scratch("sums", size, y.dtype)[:size]
    _share(input_grad, _workers(dims), P, y, w, none, none, sums, 0.0, dims, width(P, y.itemsize) * lanes(y.itemsize))
    if size > x.size:
        add_up(sums, none)
    return x


def thin_weight_grad(x: np.ndarray, y: np.ndarray, dims: tuple[int, int, int]) -> np.ndarray:
    """w (O, I): some rows by some columns are summed over the images, and written once."""
    w = np.empty((y.shape[1], x.shape[1]), x.dtype)
    none = w.reshape(-1)
    _share(weight_grad, _workers(dims), 1, x, y, none, none, w, 0.0, dims, GRADIENT[1] * lanes(x.itemsize))
    return w


def thin_scratch(dims: tuple[int, int, int], dtype: np.dtype) -> int:
    """Bytes: every thread packs a stretch of all images for itself."""
    return _workers(dims) * _packed(dims, dtype) * dtype.itemsize


def sums_scratch(dims: tuple[int, int, int], dtype: np.dtype) -> int:
    """Bytes: the sums of each stretch of rows, where there are more than one."""
    N, I, O = dims
    return N * I * stretches(O) * dtype.itemsize if stretches(O) > 1 else 0


def _packed(dims: tuple[int, int, int], dtype: np.dtype) -> int:
    N, I, _ = dims
    P = images(N)
    return -(-N // P) * P * depth(P, I, dtype.itemsize)


def _workers(dims: tuple[int, int, int]) -> int:
    """All threads, or one where there is too little to do."""
    N, I, O = dims
    return numba.get_num_threads() if N * I * O >= ALONE else 1


def _share(run: Any, workers: int, P: int, a: np.ndarray, b: np.ndarray, start: np.ndarray, held: np.ndarray, out: np.ndarray,
           floor: float, dims: tuple[int, int, int], step: int) -> None:
    """A driver of linear_tiles.py, compiled for tiles of P images."""
    a, b, start = (v if v.flags.carray else v.copy() for v in (a, b, start))
    share(run, workers, (P,), a.reshape(-1), b.reshape(-1), start, held, out.reshape(-1), out.dtype.type(floor), *dims, step)


def refuse_thick(dims: tuple[int, int, int], dtype: np.dtype) -> str:
    """Small batches of floats, and weights that are worth a compilation."""
    N, I, O = dims
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return "its tiles exist only as machine code, and NUMBA_DISABLE_JIT is set"
    if why := floats_only(dims, dtype):
        return why
    if not 0 < N <= MOST:
        return f"a batch of {N} is BLAS's: it takes 1 to {MOST}"
    return f"{I * O} weights are too few to be worth compiling for, it takes {LEAST} and more" if I * O < LEAST else ""


LADDER = (
    Kernel("linear", "reference", linear),
    Kernel("linear", "thin", thin, refuse=refuse_thick, scratch=thin_scratch,
           fuses=frozenset({"bias", "relu"})),
    Kernel("linear_input_grad", "reference", linear_input_grad),
    Kernel("linear_input_grad", "thin", thin_input_grad, refuse=refuse_thick, scratch=sums_scratch),
    Kernel("linear_weight_grad", "reference", linear_weight_grad),
    Kernel("linear_weight_grad", "thin", thin_weight_grad, refuse=refuse_thick),
    # on a GPU the product is cuBLAS
    Kernel("linear", "cuda", linear_cuda, "cuda", gpu.refuse),
    Kernel("linear_input_grad", "cuda", linear_input_grad_cuda, "cuda", gpu.refuse),
    Kernel("linear_weight_grad", "cuda", linear_weight_grad_cuda, "cuda", gpu.refuse),
)
register(*LADDER)
