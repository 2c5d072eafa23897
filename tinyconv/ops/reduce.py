"""Sums and what is made of them: mean, variance, extremes, softmax.

    sum over axes  <->  repeat along those axes

Read next: linalg.py, matrix products.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..forms import adjoint_pair
from ..tensor import Op, Tensor
from .pointwise import exp, log
from .shape import reshape, take_along_op

Dim = int | Sequence[int] | None


# `kept` is the shape with 1 in place of the summed axes
sum_op, repeat_op = adjoint_pair("sum", lambda x, axes, kept, big: x.sum(axes, keepdims=True),
                                 "repeat", lambda y, axes, kept, big: np.broadcast_to(y, big))


class MinMax(NamedTuple):
    """Result of max(dim) and min(dim): values, and their int64 positions along dim."""

    values: Tensor
    indices: Tensor


def axes_of(x: Tensor, dim: Dim) -> tuple[int, ...]:
    """The dimensions that `dim` names, counted from the front. Raises IndexError with the rank."""
    dims = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if any(not -x.ndim <= d < builtins.max(x.ndim, 1) for d in dims):
        raise IndexError(f"dim {dim} is out of range for a tensor of {x.ndim} dimensions, shape {x.shape}")
    axes = tuple(d % x.ndim for d in dims) if x.ndim else ()
    if len(set(axes)) < len(axes):
        raise ValueError(f"dim {dim} names a dimension twice")
    return axes


def _kept(x: Tensor, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(x.shape))


def _dropped(x: Tensor, axes: tuple[int, ...], keepdim: bool, y: Tensor) -> Tensor:
    return y if keepdim else reshape(y, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def sum(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Sum over `dim` (all by default)."""
    axes = axes_of(x, dim)
    return _dropped(x, axes, keepdim, sum_op(x, axes=axes, kept=_kept(x, axes), big=x.shape))


def mean(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Mean over `dim` (all by default)."""
    axes = axes_of(x, dim)
    count = int(np.prod([x.shape[a] for a in axes]))
    return sum(x, axes, keepdim) * (1.0 / count if count else float("nan"))


def var(x: Tensor, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Variance over `dim`: mean squared distance from the mean, divided by count - correction (1: unbiased, as PyTorch)."""
    axes = axes_of(x, dim)
    count = int(np.prod([x.shape[a] for a in axes]))
    away = x - mean(x, axes, True)
    return sum(away * away, axes, keepdim) * (1.0 / (count - correction) if count > correction else float("nan"))


def std(x: Tensor, dim: Dim = None, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Square root of `var`."""
    return var(x, dim, correction, keepdim) ** 0.5


def argmax(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position of the largest element (the first, at a tie), along dim or in the flattened tensor: int64."""
    return Tensor.wrap(np.asarray(x.data.argmax(dim, keepdims=keepdim)))


def argmin(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Position of the smallest element (the first, at a tie), along dim or in the flattened tensor: int64."""
    return Tensor.wrap(np.asarray(x.data.argmin(dim, keepdims=keepdim)))


def max(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | MinMax:
    """The largest element; along `dim`, a pair (values, indices), whose gradient goes to the first of a tie.

    Without dim the gradient is spread evenly over a tie, as in `amax`.
    """
    return amax(x) if dim is None else _take_best(x, dim, keepdim, np.argmax)


def min(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | MinMax:
    """The smallest element; along `dim`, a pair (values, indices), whose gradient goes to the first of a tie."""
    return amin(x) if dim is None else _take_best(x, dim, keepdim, np.argmin)


def _take_best(x: Tensor, dim: int, keepdim: bool, best: Any) -> MinMax:
    axes = axes_of(x, dim)
    indices = best(x.data, axes[0], keepdims=True)
    values = take_along_op(x, indices=indices, axis=axes[0], shape=x.shape)
    kept = Tensor.wrap(indices)
    return MinMax(_dropped(x, axes, keepdim, values), _dropped(x, axes, keepdim, kept))


def amax(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The largest element over `dim`; the gradient is spread evenly over a tie."""
    return _extreme(x, dim, keepdim, np.max)


def amin(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The smallest element over `dim`; the gradient is spread evenly over a tie."""
    return _extreme(x, dim, keepdim, np.min)


def _extreme(x: Tensor, dim: Dim, keepdim: bool, fn: Any) -> Tensor:
    axes = axes_of(x, dim)
    best = fn(x.data, axes, keepdims=True)
    hit = x.data == best
    share = Tensor.wrap((hit / np.maximum(hit.sum(axes, keepdims=True), 1)).astype(x.dtype))
    return _dropped(x, axes, keepdim, extreme_op.record(best, (x,), {"share": share, "axes": axes, "kept": best.shape}))


# which elements won carries no derivative; given that, the gradient is shared out among them
extreme_op = Op("amax", np.max, [lambda g, y, x, share, axes, kept:
                                 repeat_op(g, axes=axes, kept=kept, big=share.shape) * share])


def softmax(x: Tensor, dim: int = -1, temperature: float = 1.0) -> Tensor:
    """exp(x/T) / sum over dim of exp(x/T), computed without overflow; a high temperature T flattens it."""
    return softmax_op(x if temperature == 1.0 else x * (1.0 / temperature), axis=axes_of(x, dim)[0])


def log_softmax(x: Tensor, dim: int = -1, temperature: float = 1.0) -> Tensor:
    """log(softmax(x, dim, temperature)), exact where the softmax itself would be 0."""
    return log_softmax_op(x if temperature == 1.0 else x * (1.0 / temperature), axis=axes_of(x, dim)[0])


def logsumexp(x: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """log of the sum of exp(x) over dim, computed without overflow."""
    axes = axes_of(x, dim)
    top = x.data.max(axes, keepdims=True)
    top = Tensor.wrap(np.where(np.isfinite(top), top, 0).astype(x.dtype))
    total = log(sum(exp(x - top), axes, True)) + top
    return _dropped(x, axes, keepdim, total)


def _softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    e /= e.sum(axis, keepdims=True)
    return e


def _log_softmax(x: Any, axis: int) -> Any:
    z = x - x.max(axis, keepdims=True)
    z -= np.log(np.exp(z).sum(axis, keepdims=True))
    return z


# with y = softmax(x): dx = y * (g - sum(g * y));  with y = log_softmax(x): dx = g - exp(y) * sum(g)
softmax_op = Op("softmax", _softmax, [lambda g, y, x, axis: y * (g - sum(g * y, axis, True))], keeps="y")
log_softmax_op = Op("log_softmax", _log_softmax, [lambda g, y, x, axis: g - exp(y) * sum(g, axis, True)], keeps="y")
