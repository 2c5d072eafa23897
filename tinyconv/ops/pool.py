"""Pooling on the tape. A maximum chooses one cell of each window; given the choice `at`, all that is left is linear:

    gather  y[o] = x[at[o]]      <->      scatter  x[at[o]] += y[o]           an adjoint pair, so every derivative exists
    average y[o] = sum of window o / divisor[o]      <->      its adjoint

Padding holds no cells: it never wins a maximum. Of equal cells the first wins, and gets the gradient.
Kernels are picked by the registry. Read next: kernels/pool/reference.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dims import AnyPool, Padding, adaptive_dims, freeze, pool_dims
from ..forms import adjoint_pair
from ..registry import choose
from ..tensor import Op, Tensor


def _gather(x: Any, indices: Any, dims: AnyPool, algorithm: str | None) -> Any:
    return choose("pool_gather", dims, x.dtype, prefer=algorithm).fn(x, indices, dims)


def _scatter(y: Any, indices: Any, dims: AnyPool, algorithm: str | None) -> Any:
    return choose("pool_scatter", dims, y.dtype, prefer=algorithm).fn(y, indices, dims)


def _average(x: Any, dims: AnyPool, algorithm: str | None, **divisor: Any) -> Any:
    return choose("avg_pool", dims, x.dtype, prefer=algorithm).fn(x, dims, **divisor)


def _spread(y: Any, dims: AnyPool, algorithm: str | None, **divisor: Any) -> Any:
    return choose("avg_pool_adjoint", dims, y.dtype, prefer=algorithm).fn(y, dims, **divisor)


gather_op, scatter_op = adjoint_pair("pool_gather", _gather, "pool_scatter", _scatter)
max_pool_op = Op("max_pool", _gather, gather_op.rules)
avg_pool_op, avg_pool_adjoint_op = adjoint_pair("avg_pool", _average, "avg_pool_adjoint", _spread)


def max_pool(x: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, dilation: Any = 1, ceil_mode: bool = False,
             return_indices: bool = False, *, algorithm: str | None = None) -> Any:
    """Largest cell of each window: x (N, C, *spatial) -> y (N, C, *output), with indices a pair of y and int64 positions.

    stride defaults to kernel_size. A position counts the cells of one plane in row-major order, padding left out. NaN wins.
    Raises: ValueError with the sizes where a window would hold no cell, TypeError for other dtypes than floats.
    """
    dims = pool_dims(_shape(x), freeze(kernel_size), freeze(stride), freeze(padding), freeze(dilation), ceil_mode)
    return _max_pool(x, dims, return_indices, algorithm)


def adaptive_max_pool(x: Tensor, output_size: Any, return_indices: bool = False, *, algorithm: str | None = None) -> Any:
    """Largest cell of each of `output_size` windows that divide the input evenly; see max_pool."""
    return _max_pool(x, adaptive_dims(_shape(x), freeze(output_size)), return_indices, algorithm)


def _max_pool(x: Tensor, dims: AnyPool, return_indices: bool, algorithm: str | None) -> Any:
    y, at = choose("max_pool", dims, x.data.dtype, prefer=algorithm).fn(x.data, dims)
    out = max_pool_op.record(y, (x,), {"indices": at, "dims": dims, "algorithm": algorithm})
    return (out, Tensor.wrap(at)) if return_indices else out


def avg_pool(x: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int | None = None, *, algorithm: str | None = None) -> Tensor:
    """Mean of each window: x (N, C, *spatial) -> y (N, C, *output).

    The divisor is the number of cells of the window, padding included unless count_include_pad=False, or divisor_override.
    Raises: ValueError with the sizes where a window would hold no cell, or for a divisor of 0.
    """
    if divisor_override == 0:
        raise ValueError("divisor_override must not be 0")
    dims = pool_dims(_shape(x), freeze(kernel_size), freeze(stride), freeze(padding), 1, ceil_mode)
    return avg_pool_op(x, dims=dims, algorithm=algorithm, count_include_pad=count_include_pad,
                       divisor_override=divisor_override)


def adaptive_avg_pool(x: Tensor, output_size: Any, *, algorithm: str | None = None) -> Tensor:
    """Mean of each of `output_size` windows that divide the input evenly."""
    return avg_pool_op(x, dims=adaptive_dims(_shape(x), freeze(output_size)), algorithm=algorithm, count_include_pad=True,
                       divisor_override=None)


def _shape(x: Any) -> tuple[int, ...]:
    if not isinstance(x, Tensor) or x.data.dtype not in (np.float32, np.float64):
        raise TypeError("pooling wants a Tensor of float32 or float64, got "
                        + (str(x.dtype) if isinstance(x, Tensor) else type(x).__name__))
    return x.data.shape
