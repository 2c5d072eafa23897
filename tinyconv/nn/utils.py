"""Gradient clipping, between backward() and step()."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce

import numpy as np

from ..device import same_device
from ..tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients by one factor, in place, so that their norm together is at most max_norm.

    norm_type: the p of the norm, infinity included. Returns the norm before. Raises ValueError for a negative max_norm, and
    RuntimeError where the norm is NaN or infinite and error_if_nonfinite is set.
    """
    if not max_norm >= 0 or not norm_type > 0:
        raise ValueError(f"max_norm must be at least 0 and norm_type above 0, got {max_norm} and {norm_type}")
    grads = _grads(parameters)
    if any(g.is_cuda for g in grads):
        return _clip_unseen(grads, max_norm, norm_type, error_if_nonfinite)
    if norm_type == math.inf:
        total = max((float(np.abs(g.data).max(initial=0)) for g in grads), default=0.0)
    elif norm_type == 2:
        total = math.sqrt(sum(float(np.vdot(g.data, g.data)) for g in grads))
    else:
        total = sum(float((np.abs(g.data) ** norm_type).sum()) for g in grads) ** (1 / norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(f"the norm of the gradients is {total}: there is nothing to scale it by")
    factor = max_norm / (total + 1e-6)
    if not factor >= 1:
        for g in grads:
            g.data *= g.dtype.type(factor)
            g.mark_written()
    return Tensor.wrap(np.asarray(total, grads[0].dtype if grads else np.float32))


def _clip_unseen(grads: list[Tensor], max_norm: float, norm_type: float, error_if_nonfinite: bool) -> Tensor:
    """The same on the GPU, where the norm stays: every gradient is scaled, by 1 where there is no need."""
    same_device("clip_grad_norm_", *(g.data for g in grads))
    if norm_type == math.inf:
        total = reduce(np.maximum, (np.abs(g.data).max() for g in grads if g.data.size))
    else:
        total = sum((np.abs(g.data) ** norm_type).sum() for g in grads) ** (1 / norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(f"the norm of the gradients is {total.item()}: there is nothing to scale it by")
    factor = np.minimum(max_norm / (total + 1e-6), 1.0)
    for g in grads:
        g.data *= factor.astype(g.dtype)
        g.mark_written()
    return Tensor.wrap(total.astype(grads[0].dtype))


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Hold every entry of every gradient between -clip_value and clip_value, in place."""
    if not clip_value >= 0:
        raise ValueError(f"clip_value must be at least 0, got {clip_value}")
    for g in _grads(parameters):
        np.clip(g.data, -clip_value, clip_value, out=g.data)
        g.mark_written()


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [t.grad for t in tensors if t.grad is not None]
