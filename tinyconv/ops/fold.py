"""Patches as columns, and columns back to where they came from.

    unfold  cols[n, (c, kh, kw), (oh, ow)] = x[n, c, ih, iw]      ih = oh*sh + kh*dh - ph,  iw likewise; 0 outside of x
    fold    x[n, c, ih, iw] = sum of the cols that were copied from it                  its adjoint, not its inverse

A convolution is a matrix product with the columns. fold(unfold(x)) is x times the number of windows over each cell.
Kernels are picked by the registry: kernels/conv/im2col.py. Read next: conv.py.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..device import kind
from ..dims import ConvDims, Padding, conv_dims, freeze, per_axis
from ..forms import adjoint_pair
from ..registry import choose
from ..tensor import Tensor

unfold_op, fold_op = adjoint_pair("unfold", lambda x, dims: choose("unfold", dims, x.dtype, kind(x)).fn(x, dims),
                                  "fold", lambda cols, dims: choose("fold", dims, cols.dtype, kind(cols)).fn(cols, dims))


def unfold(x: Tensor, kernel_size: Any, dilation: Any = 1, padding: Padding = 0, stride: Any = 1) -> Tensor:
    """The patches of x (N, C, *spatial) as columns (N, C * cells of the kernel, positions), for 1 to 3 dimensions.

    Row (c, kh, kw) holds one cell of every patch, column (oh, ow) one patch. padding as in conv: ints, pairs or words.
    Raises: ValueError with the sizes where the kernel does not fit.

    >>> import numpy as np, tinyconv as tc
    >>> unfold(tc.tensor(np.arange(6.0).reshape(1, 1, 2, 3)), 2).tolist()
    [[[0.0, 1.0], [1.0, 2.0], [3.0, 4.0], [4.0, 5.0]]]
    """
    return unfold_op(x, dims=_dims("unfold", x, x.shape, kernel_size, dilation, padding, stride))


def fold(cols: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Padding = 0, stride: Any = 1) -> Tensor:
    """Columns (N, C * cells of the kernel, positions) added to x (N, C, *output_size) where unfold takes them from.

    output_size: one int a spatial dimension; their number says how many dimensions there are.
    Raises: ValueError where rows do not divide into patches, or where the number of columns is not that of the positions.

    >>> import tinyconv as tc
    >>> fold(tc.ones(1, 4, 2), (2, 3), 2).tolist()  # how many windows hold each cell
    [[[[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]]
    """
    size = per_axis("output_size", freeze(output_size), len(output_size) if isinstance(output_size, (tuple, list)) else 2)
    kernel = per_axis("kernel_size", freeze(kernel_size), len(size))
    if cols.ndim != 3:
        raise ValueError(f"fold wants columns (N, C * {prod(kernel)}, positions), got shape {cols.shape}")
    N, rows, positions = cols.shape
    if rows % prod(kernel) or rows == 0:
        raise ValueError(f"fold: {rows} rows, of columns of shape {cols.shape}, do not divide into patches of {kernel}, "
                         f"{prod(kernel)} cells a channel")
    dims = _dims("fold", cols, (N, rows // prod(kernel), *size), kernel, dilation, padding, stride)
    if positions != prod(dims.output):
        raise ValueError(f"fold: the windows {kernel} over {size} have positions {dims.output}, {prod(dims.output)} columns; "
                         f"got {positions}, of shape {cols.shape}")
    return fold_op(cols, dims=dims)


def _dims(name: str, t: Tensor, x_shape: tuple, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> ConvDims:
    if t.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} wants float32 or float64, got {t.dtype}: use .float()")
    if not 3 <= len(x_shape) <= 5:
        raise ValueError(f"{name} wants x (N, C, *spatial) with 1 to 3 spatial dimensions, got shape {x_shape}")
    kernel = per_axis("kernel_size", freeze(kernel_size), len(x_shape) - 2)
    return conv_dims(x_shape, (1, x_shape[1], *kernel), freeze(stride), freeze(padding), freeze(dilation))
