"""Kernels that compute nothing: zeros of the shape of the result, for a pass that only asks for sizes (`registry.hollow`).

They are on no ladder. What is large comes from the system as pages of zeros, which cost nothing until they are touched.
Read next: ../nn/summary.py, which runs networks by them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dims import AnyPool, ConvDims, NormDims
from ..registry import HOLLOW, Kernel


def conv(x: np.ndarray, w: np.ndarray, dims: ConvDims, **options: Any) -> np.ndarray:
    """y (N, O, *output)"""
    return np.zeros(dims.y_shape, x.dtype)


def fill_x(y: np.ndarray, other: Any, dims: Any = None, **options: Any) -> np.ndarray:
    """x (N, C, *input), from y and a weight, or indices, or nothing else"""
    return np.zeros((other if dims is None else dims).x_shape, y.dtype)


def choose_cells(x: np.ndarray, dims: AnyPool, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """y (N, C, *output), and of each window the first cell of the plane"""
    return np.zeros(dims.y_shape, x.dtype), np.zeros(dims.y_shape, np.int64)


def pool(x: np.ndarray, dims: AnyPool, *args: Any, **options: Any) -> np.ndarray:
    """y (N, C, *output)"""
    return np.zeros(dims.y_shape, x.dtype)


def unfold(x: np.ndarray, dims: ConvDims) -> np.ndarray:
    """columns (N, C * cells of the kernel, positions)"""
    return np.zeros((dims.N, dims.C * int(np.prod(dims.kernel)), int(np.prod(dims.output))), x.dtype)


def linear(x: np.ndarray, w: np.ndarray, dims: tuple[int, int, int], **options: Any) -> np.ndarray:
    """y (N, O)"""
    return np.zeros((dims[0], dims[2]), x.dtype)


def each(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """y of the shape of x"""
    return np.zeros(shape, x.dtype)


def norm(x: np.ndarray, w: np.ndarray, b: np.ndarray, dims: NormDims, eps: float, *options: Any) -> tuple:
    """y of the shape of x, mean and variance (S,)"""
    return np.zeros(x.shape, x.dtype), np.zeros(dims.S, x.dtype), np.zeros(dims.S, x.dtype)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "conv": conv, "conv_input_grad": fill_x, "pool_scatter": fill_x, "avg_pool_adjoint": fill_x, "fold": fill_x,
    "max_pool": choose_cells, "median_pool": choose_cells, "avg_pool": pool, "lp_pool": pool, "unfold": unfold, "norm": norm,
    "linear": linear, "sigmoid": each,
}
HOLLOWS = {op: Kernel(op, HOLLOW, fn, fuses=frozenset({"bias", "relu"}), automatic=False) for op, fn in FUNCTIONS.items()}
