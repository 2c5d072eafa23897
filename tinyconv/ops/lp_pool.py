"""Lp pooling: the p-norm of each window, from the sum of magnitudes (p = 1) over L2 to the largest magnitude (infinity).

    y[o] = (sum over the cells i of window o of |x[i]|^p)^(1/p)            p >= 1: below it is no norm
    dx[i] = sum over o of g[o] * sign(x[i]) * (|x[i]| / y[o])^(p-1)         and 0 where y[o] = 0 or x[i] = 0

PyTorch raises x itself to the power, not |x|: for negative x an odd p lets cells cancel and gives NaN for a negative sum
(the sum itself for p = 1), a broken p gives NaN. With ceil_mode it also scales windows that hang over the end, as if
they were full. Where every x is positive and every window lies inside, both agree. Read next: pool.py.
"""

from __future__ import annotations

from math import inf, log2, prod
from typing import Any

import numpy as np

from ..device import kind
from ..dims import AnyPool, Padding, PoolDims, conv_dims
from ..forms import fused
from ..registry import choose
from ..tensor import Tensor
from .dtypes import cast
from .fold import unfold_op
from .pointwise import abs, where
from .pool import _dims, _max_pool
from .reduce import sum as sum_over
from .shape import reshape

EXPONENTS = 1000  # float64 reaches from 2^-1022 to 2^1024


def lp_pool(x: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False, padding: Padding = 0,
            dilation: Any = 1, *, algorithm: str | None = None) -> Tensor:
    """The p-norm of each window, p = norm_type >= 1: x (N, C, *spatial) -> y (N, C, *output).

    p may be infinity: the largest magnitude, the first of equals. NaN and infinity in a window are passed on.
    Raises: ValueError for p < 1, or with the sizes where a window would hold no cell.
    Source: Sermanet, Chintala and LeCun (2012), equation 1.
    """
    p = _power_of(norm_type)
    dims = _dims(x, kernel_size, stride, padding, dilation, ceil_mode)
    if p == inf:
        return _max_pool(abs(x), dims, False, "first", algorithm)
    norm = _parts if _leaves_range(x.data, p) else lp_pool_op
    return norm(x, dims=dims, p=p, algorithm=algorithm)


def lp_pool_features(x: Tensor, norm_type: float, kernel_size: int, stride: int | None = None, *,
                     algorithm: str | None = None) -> Tensor:
    """The p-norm over windows of kernel_size neighbouring channels, cell by cell: x (N, C, *spatial) -> (N, C', *spatial).

    Windows overlap where stride < kernel_size. With p = 2 and a filter bank before it, pooling over features learns what
    to be invariant to. Raises: ValueError for p < 1 or a window wider than the channels.

    >>> import numpy as np, tinyconv as tc
    >>> lp_pool_features(tc.tensor(np.array([[3.0, -4.0, 0.0, 2.0]])), 2, 2).tolist()
    [[5.0, 2.0]]
    """
    if x.ndim < 2:
        raise ValueError(f"lp_pool_features wants an input (N, C, *spatial), got shape {x.shape}")
    for name, v in (("kernel_size", kernel_size), ("stride", kernel_size if stride is None else stride)):
        if isinstance(v, bool) or not isinstance(v, int) or v < 1:
            raise ValueError(f"lp_pool_features: {name} counts channels, an int of at least 1, got {v!r}")
    N, C, *spatial = x.shape
    if kernel_size > C:
        raise ValueError(f"lp_pool_features: a window of {kernel_size} channels over an input with {C}, shape {x.shape}")
    plane = reshape(x, N, 1, C, prod(spatial))  # channels as the rows of an image
    y = lp_pool(plane, norm_type, (kernel_size, 1), (stride or kernel_size, 1), algorithm=algorithm)
    return reshape(y, N, y.shape[2], *spatial)


def _power_of(norm_type: Any) -> float:
    p = float(norm_type)
    if not p >= 1:
        raise ValueError(f"norm_type={norm_type!r}: (sum |x|^p)^(1/p) is a norm only for p >= 1 (infinity included)")
    return int(p) if p.is_integer() else p


def _forward(x: Any, dims: AnyPool, p: float, algorithm: str | None) -> Any:
    return choose("lp_pool", dims, x.dtype, kind(x), prefer=algorithm).fn(x, dims, p)


def _backward(needs: Any, g: Any, y: Any, x: Any, dims: AnyPool, p: float, algorithm: str | None) -> tuple:
    return (choose("lp_pool_grad", dims, x.dtype, kind(x), prefer=algorithm).fn(x, y, g, dims, p),)


def _leaves_range(x: np.ndarray, p: float) -> bool:
    """Whether some |x|^p is too large or too small for the float64 in which the kernels sum."""
    if x.dtype == np.float32 and p <= 7:
        return False
    if type(x) is not np.ndarray:
        return True  # it may: to look would wait for the GPU, and the parts take any range
    sizes = np.abs(x[np.isfinite(x) & (x != 0)])
    return sizes.size > 0 and not p * max(-log2(sizes.min()), log2(sizes.max())) < EXPONENTS - log2(max(x.size, 1))


def _parts(x: Tensor, dims: Any, p: float, algorithm: str | None) -> Tensor:
    """The norm from patches, each divided by its largest magnitude: any range, and every derivative.

    t * norm(x / t) is the same for any t > 0, so the divisor is a constant to the derivative.
    """
    patches = _patch_dims(dims)
    K, P = prod(dims.kernel), prod(dims.output)
    cols = reshape(unfold_op(cast(x, np.float64), dims=patches), dims.N, dims.C, K, P)
    top = np.abs(cols.data).max(2, keepdims=True)
    top = np.where(np.isfinite(top) & (top > 0), top, 1.0)
    total = sum_over(_raised(cols / Tensor.wrap(top), p), 2)
    some = total.data > 0  # elsewhere 0, of gradient 0 by definition, or NaN
    y = where(some, where(some, total, 1.0) ** (1 / p) * Tensor.wrap(top[:, :, 0]), total.detach())
    return cast(reshape(y, dims.y_shape), x.dtype)


def _raised(a: Tensor, p: float) -> Tensor:
    """|a|^p with as many derivatives as it has; those that are infinite at 0 count as 0."""
    if p == int(p):
        return a**p if p % 2 == 0 else abs(a) * a ** (p - 1)
    some = a.data != 0
    return where(some, abs(where(some, a, 1.0)) ** p, 0.0)


def _patch_dims(dims: PoolDims) -> Any:
    """The convolution whose patches are the windows: padding after the input as far as the last window hangs over."""
    pads = tuple((lo, max((o - 1) * s + (k - 1) * d + 1 - i - lo, 0)) for i, k, o, s, (lo, _), d in zip(
        dims.input, dims.kernel, dims.output, dims.stride, dims.padding, dims.dilation))
    return conv_dims(dims.x_shape, (1, dims.C, *dims.kernel), dims.stride, pads, dims.dilation)


lp_pool_op = fused("lp_pool", _parts, _forward, _backward, keeps="xy")
