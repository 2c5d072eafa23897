"""Unpooling: from one value a window back to the cells of the plane. Every kind is linear, so its adjoint is its gradient.

    by indices        x[at[o]] += y[o]                                    adjoint: gather, the linear half of max pooling
    "bed_of_nails"    the same with at[o] the first cell of window o      adjoint: subsampling
    "average"         x[i] = sum of y[o] / divisor[o] over the windows that hold i      the adjoint of average pooling
    "nearest"         x[i] = mean of y[o] over the windows that hold i; without overlap, y repeated

All say the geometry of the pooling they undo. A stride s pools s sizes and more to one; `output_size` says which is meant.
Sources: Zeiler and Fergus (2014), section 2.1; Long, Shelhamer and Darrell (2015). Read next: resize.py.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..device import constant, same_device
from ..dims import AnyPool, Padding, PoolDims, adaptive_dims, freeze, per_axis, resolve_padding, transposed_size
from ..tensor import Tensor
from .create import ones_like
from .pointwise import maximum
from .pool import _shape, avg_pool_adjoint_op, scatter_op

DUPLICATES = {"add": "their values are added", "mean": "their mean is taken", "raise": "it is an error"}
MODES = ("nearest", "bed_of_nails", "average")


def max_unpool(y: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, output_size: Any = None,
               *, dilation: Any = 1, duplicates: str = "add", algorithm: str | None = None) -> Tensor:
    """Each value of y (N, C, *output) back to the cell `indices` names, 0 elsewhere: (N, C, *spatial).

    indices: int64 positions in a plane, as max_pool gives them, of the shape of y. output_size: spatial, or the whole
    shape; without it the least size whose windows fill it. kernel_size=None for adaptive pooling: output_size then says all.
    duplicates: where windows overlap, one cell may be named twice. "add": its values are added, so that unpooling is the
    adjoint of the choice; "mean": of equal values, as pooling gives them, one; "raise": ValueError. (PyTorch keeps one of
    them, any.) Either way the gradient is exact.
    Raises: ValueError for other shapes or an output_size that no pooling has, IndexError for indices beyond the plane.
    """
    if duplicates not in DUPLICATES:
        rules = ", ".join(f'"{name}" ({what})' for name, what in DUPLICATES.items())
        raise ValueError(f"duplicates says what to do where two windows name one cell: {rules}; got {duplicates!r}")
    if not isinstance(indices, Tensor) or indices.dtype.kind not in "iu":
        got = f"{indices.dtype}" if isinstance(indices, Tensor) else type(indices).__name__
        raise TypeError(f"max_unpool wants an integer Tensor of indices, as max_pool(return_indices=True) gives, got {got}")
    if indices.shape != _shape(y):
        raise ValueError(f"max_unpool wants an index for each value: the values have shape {y.shape}, the indices "
                         f"{indices.shape}")
    same_device("max_unpool", y.data, indices.data)
    dims = _unpool_dims("max_unpool", y, kernel_size, stride, padding, dilation, output_size)
    at = indices.data.astype(np.int64)  # a copy: the gradient comes from where it pointed, whatever is written to it later
    cells = prod(dims.input)
    # on the GPU nobody looks whether they lie in the plane: that would wait for them
    if not indices.is_cuda and at.size and not 0 <= at.min() <= at.max() < cells:
        raise IndexError(f"max_unpool to planes of {dims.input}: indices run from {at.min()} to {at.max()}, they must be 0 to "
                         f"{cells - 1}; was output_size that of the pooled input?")
    if indices.is_cuda:
        algorithm = "cuda_anywhere"
        if duplicates == "raise":
            raise ValueError('max_unpool on the GPU takes duplicates="add" or "mean": to look for them would wait')
        x = scatter_op(y, indices=at, dims=dims, algorithm=algorithm)
        named_by = None if duplicates == "add" else scatter_op(ones_like(y), indices=at, dims=dims, algorithm=algorithm)
        return x if named_by is None else x / maximum(named_by, 1)
    named = None if duplicates == "add" else _named(at, cells)
    if named is not None and duplicates == "raise" and named.size and named.max() > 1:
        plane, cell = np.unravel_index(named.argmax(), named.shape)
        raise ValueError(f'max_unpool with duplicates="raise": cell {cell} of plane {plane} is named {named.max()} times, by '
                         'windows that overlap; "add" or "mean" says what to make of it')
    x = scatter_op(y, indices=at, dims=dims, algorithm=algorithm)
    return x if named is None or duplicates == "raise" else x / _divisor(named.reshape(x.shape), x)


def unpool(y: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, mode: str = "nearest",
           output_size: Any = None, *, algorithm: str | None = None) -> Tensor:
    """Spread each value of y (N, C, *output) over its window: (N, C, *spatial).

    mode: "nearest" (repeat; where windows overlap, their mean), "bed_of_nails" (the first cell, 0 elsewhere), or "average"
    (equal parts, which is the adjoint of avg_pool). output_size: spatial, or the whole shape; kernel_size=None with
    an output_size for the windows of adaptive pooling. Cells that no window holds are 0.
    Raises: ValueError for another mode, or for an output_size that no pooling has.

    >>> import numpy as np, tinyconv as tc
    >>> y = tc.tensor(np.array([[[1.0, 2.0]]]))
    >>> [unpool(y, 2, mode=m).tolist()[0][0] for m in ("nearest", "bed_of_nails", "average")]
    [[1.0, 1.0, 2.0, 2.0], [1.0, 0.0, 2.0, 0.0], [0.5, 0.5, 1.0, 1.0]]
    """
    if mode not in MODES:
        raise ValueError(f"unpool has the modes {', '.join(MODES)}; got {mode!r}")
    _shape(y)
    dims = _unpool_dims("unpool", y, kernel_size, stride, padding, 1, output_size)
    _check_windows(dims)
    if mode == "bed_of_nails":
        return scatter_op(y, indices=constant(y.data, _first_cells(dims)), dims=dims, algorithm=algorithm)
    sums = {"dims": dims, "algorithm": algorithm, "count_include_pad": True}
    if mode == "average":
        return avg_pool_adjoint_op(y, divisor_override=None, **sums)
    x = avg_pool_adjoint_op(y, divisor_override=1, **sums)
    held = _held(dims)
    return x if (held <= 1).all() else x / _divisor(held, x)


def _unpool_dims(name: str, y: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, output_size: Any) -> AnyPool:
    """The dims of the pooling that y is the result of. Raises ValueError with the sizes that are possible."""
    N, C, *out = y.shape
    rank = len(out)
    if not 1 <= rank <= 3:
        raise ValueError(f"{name} wants an input (N, C, *spatial) with 1 to 3 spatial dimensions, got shape {y.shape}")
    wanted = _wanted(name, freeze(output_size), (N, C), rank)
    if kernel_size is None:
        if wanted is None:
            raise ValueError(f"{name} wants a kernel_size, or for adaptive pooling an output_size")
        return adaptive_dims((N, C, *wanted), tuple(out))
    kernel = per_axis("kernel_size", freeze(kernel_size), rank)
    s = kernel if stride is None else per_axis("stride", freeze(stride), rank)
    d = per_axis("dilation", freeze(dilation), rank)
    if padding == "same":
        raise ValueError(f'{name}: padding "same" follows from a size, which is not known here: say it in numbers')
    pads = resolve_padding(freeze(padding), (1,) * rank, kernel, s, d)
    full = tuple(transposed_size(*a) for a in zip(out, kernel, s, *zip(*pads), d))
    size = full if wanted is None else wanted
    if any(abs(w - f) >= st for w, f, st in zip(size, full, s)) or min(size) < 1 or min(out) < 1:
        spans = ", ".join(f"{max(f - st + 1, 1)} to {f + st - 1}" for f, st in zip(full, s))
        raise ValueError(f"{name}: no pooling by kernel {kernel}, stride {s}, padding {pads} and dilation {d} makes "
                         f"{tuple(out)} of {size}: the size must be stride*(o-1) + dilation*(kernel-1) + 1 - padding = {full}, "
                         f"or by less than the stride more, or (with ceil_mode) less: {spans}")
    return PoolDims(N, C, size, kernel, tuple(out), s, pads, d)


def _wanted(name: str, size: Any, lead: tuple[int, int], rank: int) -> tuple[int, ...] | None:
    """output_size without batch and channels, if it was given with them."""
    if size is None:
        return None
    if isinstance(size, tuple) and len(size) == rank + 2:
        if size[:2] != lead:
            raise ValueError(f"{name}: output_size={size} starts with batch and channels {size[:2]}, the input has {lead}")
        size = size[2:]
    return per_axis("output_size", size, rank)


def _check_windows(dims: AnyPool) -> None:
    if isinstance(dims, PoolDims) and any(min(count) < 1 for _, count in dims.windows):
        raise ValueError(f"unpool: a window by kernel {dims.kernel}, stride {dims.stride} and padding {dims.padding} holds no "
                         f"cell of a plane of {dims.input}, so there is none to put its value: pad less")


def _first_cells(dims: AnyPool) -> np.ndarray:
    """The first cell of each window as a position in its plane, for every plane: (N, C, *output)."""
    at = np.zeros((), np.int64)
    for (first, _), size in zip(dims.windows, dims.input):
        at = np.add.outer(at * size, np.array(first))
    return np.broadcast_to(at, dims.y_shape).copy()


def _held(dims: AnyPool) -> np.ndarray:
    """How many windows hold each cell: (*input)."""
    total = np.ones((), np.int64)
    for (first, count), size in zip(dims.windows, dims.input):
        held = np.zeros(size, np.int64)
        for f, n in zip(first, count):
            held[f:f + n] += 1
        total = np.multiply.outer(total, held)
    return total


def _named(at: np.ndarray, cells: int) -> np.ndarray:
    """How often each cell of each plane is named: (planes, cells)."""
    planes = at.shape[0] * at.shape[1]
    flat = at.reshape(planes, prod(at.shape[2:]))
    lines = flat + cells * np.arange(planes)[:, None]
    return np.bincount(lines.ravel(), minlength=planes * cells).reshape(planes, cells)


def _divisor(counts: np.ndarray, x: Tensor) -> Tensor:
    """Counts as divisors of x, 1 where nothing was put."""
    return Tensor.wrap(constant(x.data, np.maximum(counts, 1).astype(x.dtype)))
