"""Sums and what is made of them: mean, variance, extremes, softmax.

    sum over axes  <->  repeat along those axes

Read next: linalg.py, matrix products.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..forms import adjoint_pair
from ..op import Op
from ..tensor import Tensor
from .dtypes import floating
from .pointwise import exp, log, real, sqrt, where
from .shape import dim_of, reshape, take_along_op

Dim = int | Sequence[int] | None

# shapes: x has `big`; `kept` has 1 in place of the axes, `to` is without them or the same as kept
sum_op, repeat_op = adjoint_pair(
    "sum", lambda x, axes, kept, to, big: x.sum(axes, None if x.dtype.kind == "f" else np.int64).reshape(to),
    "repeat", lambda y, axes, kept, to, big: np.broadcast_to(y.reshape(kept), big))


class MinMax(NamedTuple):
    """Result of max(dim) and min(dim): values, and their int64 positions along dim."""

    values: Tensor
    indices: Tensor


def axes_of(x: Tensor, dim: Dim) -> tuple[int, ...]:
    """The dimensions that `dim` names, counted from the front. Raises IndexError with the rank."""
    if dim is None:
        return tuple(range(x.data.ndim))
    if not isinstance(dim, Sequence):
        return (dim_of(x, dim),)
    axes = tuple([dim_of(x, d) for d in dim])
    if len(set(axes)) < len(axes):
        raise ValueError(f"dim {dim} names a dimension twice")
    return axes


def _shapes(x: Tensor, axes: tuple[int, ...], keepdim: bool) -> dict[str, Any]:
    """What sum_op wants to know."""
    big = x.data.shape
    kept = tuple([1 if i in axes else n for i, n in enumerate(big)])
    to = kept if keepdim else tuple([n for i, n in enumerate(big) if i not in axes])
    return {"axes": axes, "kept": kept, "to": to, "big": big}


def sum(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Sum over `dim` (all by default)."""
    return sum_op(x, **_shapes(x, axes_of(x, dim), keepdim))


def mean(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Mean over `dim` (all by default); of nothing it is NaN."""
    axes = axes_of(x, dim)
    return sum(x, axes, keepdim) / (prod([x.shape[a] for a in axes]) or np.nan)


def var(x: Tensor, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Variance over `dim`: mean squared distance from the mean, divided by count - correction (1: unbiased, as PyTorch)."""
    axes = axes_of(x, dim)
    away = x - mean(x, axes, True)
    return sum(away * away, axes, keepdim) / (builtins.max(prod([x.shape[a] for a in axes]) - correction, 0) or np.nan)


def std(x: Tensor, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Square root of `var`; where that is 0, the gradient is 0."""
    v = var(x, dim, correction, keepdim)
    return where(v.data > 0, sqrt(where(v.data > 0, v, 1.0)), v)


def any(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Whether any element is not 0, along dim or at all: boolean."""
    return Tensor.wrap(x.data.any(dim, keepdims=keepdim))


def all(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Whether no element is 0, along dim or at all: boolean."""
    return Tensor.wrap(x.data.all(dim, keepdims=keepdim))


def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position of the largest element (the first, at a tie), along dim or in the flattened tensor: int64."""
    return Tensor.wrap(x.data.argmax(dim, keepdims=keepdim))


def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position of the smallest element (the first, at a tie), along dim or in the flattened tensor: int64."""
    return Tensor.wrap(x.data.argmin(dim, keepdims=keepdim))


def max(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | MinMax:
    """The largest element; along `dim`, a pair (values, indices), whose gradient goes to the first of a tie.

    Without dim the gradient is spread evenly over a tie, as in `amax`.
    """
    return amax(x) if dim is None else _take_best(x, dim, keepdim, np.argmax)


def min(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | MinMax:
    """The smallest element; along `dim`, a pair (values, indices), whose gradient goes to the first of a tie."""
    return amin(x) if dim is None else _take_best(x, dim, keepdim, np.argmin)


def _take_best(x: Tensor, dim: int, keepdim: bool, best: Any) -> MinMax:
    axis = dim_of(x, dim)
    indices = best(x.data, axis, keepdims=True)
    values = take_along_op(x, indices=indices, axis=axis, shape=x.shape)
    to = values.shape if keepdim else values.shape[:axis] + values.shape[axis + 1:]
    return MinMax(reshape(values, to), Tensor.wrap(indices.reshape(to)))


def amax(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The largest element over `dim`; the gradient is spread evenly over a tie."""
    return amax_op(x, **_shapes(x, axes_of(x, dim), keepdim))


def amin(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The smallest element over `dim`; the gradient is spread evenly over a tie."""
    return amin_op(x, **_shapes(x, axes_of(x, dim), keepdim))


def _best(best: Any) -> Any:
    """The extreme over axes, `best` np.max or np.min. Raises: ValueError where there is nothing to take it from."""

    def forward(x: Any, axes: tuple[int, ...], kept: Any, to: tuple[int, ...], big: Any) -> Any:
        if x.size == 0 and 0 in [big[a] for a in axes]:
            raise ValueError(f"there is no largest or smallest of no elements: shape {big} holds none over dim {axes}")
        return best(x, axes).reshape(to)

    return forward


def _to_winners(g: Tensor, y: Tensor, x: Tensor, **shapes: Any) -> Tensor:
    """The cotangent, shared out among the elements that won (NaN does); which ones carries no derivative of its own."""
    hit = (x.data == y.data.reshape(shapes["kept"])) | (x.data != x.data)
    share = hit / np.maximum(hit.sum(shapes["axes"], keepdims=True), 1)
    return repeat_op(g, **shapes) * Tensor.wrap(share.astype(x.dtype))


amax_op = Op("amax", _best(np.max), [_to_winners], keeps="xy")
amin_op = Op("amin", _best(np.min), [_to_winners], keeps="xy")


def softmax(x: Tensor, dim: int = -1, temperature: float = 1.0) -> Tensor:
    """exp(x/T) / sum over dim of exp(x/T), computed without overflow; a high temperature T flattens it."""
    return softmax_op(x if temperature == 1.0 else x / temperature, axis=dim_of(x, dim))


def log_softmax(x: Tensor, dim: int = -1, temperature: float = 1.0) -> Tensor:
    """log(softmax(x, dim, temperature)), exact where the softmax itself would be 0."""
    return log_softmax_op(x if temperature == 1.0 else x / temperature, axis=dim_of(x, dim))


def logsumexp(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """log of the sum of exp(x) over dim, computed without overflow; of nothing it is -infinity."""
    x = floating(x)
    shapes = _shapes(x, axes_of(x, dim), keepdim)
    if 0 in [x.data.shape[a] for a in shapes["axes"]]:
        return sum_op(x, **shapes) - np.inf
    top = x.data.max(shapes["axes"], keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    return log(sum_op(exp(x - Tensor.wrap(top)), **shapes)) + Tensor.wrap(top.reshape(shapes["to"]))


def _top(x: Any, axis: int) -> Any:
    """The largest along an axis, which may be empty: then there is nothing to take it from."""
    return x.max(axis, keepdims=True) if x.shape[axis] else 0


def _softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - _top(x, axis))
    e /= e.sum(axis, keepdims=True)
    return e


def _log_softmax(x: Any, axis: int) -> Any:
    z = x - _top(x, axis)
    z -= np.log(np.exp(z).sum(axis, keepdims=True))
    return z


# with y = softmax(x): dx = y * (g - sum(g * y));  with y = log_softmax(x): dx = g - exp(y) * sum(g)
softmax_op = Op("softmax", real(_softmax), [lambda g, y, x, axis: y * (g - sum(g * y, axis, True))], keeps="y")
log_softmax_op = Op("log_softmax", real(_log_softmax), [lambda g, y, x, axis: g - exp(y) * sum(g, axis, True)], keeps="y")
