"""A bias along the channels, and a relu after it: what kernels do as they store, and what undoes it in one pass.

    y = relu(f(x, w) + b)      g' = g where y > 0,  db = sum of g' over all but the channels,  dx and dw by f's rules from g'

Fused, the gradients are the same sums in one pass over g; where the backward pass is itself recorded, they are made of
operations, and have derivatives of every order. Read next: conv.py, norm.py and pool.py, whose layers end so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..device import kind
from ..forms import adjoint_pair
from ..registry import choose
from ..tape import is_grad_enabled
from ..tensor import Tensor
from .pointwise import relu_grad

channel_sum_op, channel_spread_op = adjoint_pair(
    "channel_sum", lambda g, shape: choose("channel_sum", shape, g.dtype, kind(g)).fn(g, shape),
    "channel_spread", lambda b, shape: np.broadcast_to(b.reshape(-1, *(1,) * (len(shape) - 2)), shape))


def channel_sum(g: Tensor) -> Tensor:
    """Sum over everything but the channels: the gradient of a bias. (N, C, *spatial) -> (C,)"""
    return channel_sum_op(g, shape=g.data.shape)


def bias_rule(g: Tensor, out: Any, p: Any, q: Any, b: Any, **meta: Any) -> Tensor:
    """b <- channel_sum(g)"""
    return channel_sum(g)


def let_through(g: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The cotangent of what y = relu(. + b) was made from, and that of b."""
    if is_grad_enabled():
        g = relu_grad(g, y)
        return g, channel_sum(g)
    dx, db = choose("bias_relu_grad", g.data.shape, g.data.dtype, kind(g.data)).fn(g.data, y.data, g.data.shape)
    return Tensor.wrap(dx), Tensor.wrap(db)


def rectified(rules: Sequence[Callable]) -> Callable:
    """The rules of an operation (operands..., bias) with these rules for all but the bias, once a relu follows it."""

    def gradients(needs: Sequence[bool], g: Tensor, y: Tensor, *operands: Tensor, **meta: Any) -> list[Tensor | None]:
        """operands <- their rules, from what relu lets through; bias <- channel_sum of it"""
        g, db = let_through(g, y)
        return [rule(g, None, *operands, **meta) if need else None for need, rule in zip(needs, rules)] + [db]

    return gradients


def finish(y: Any, bias: Any, relu: bool) -> Any:
    """y + bias, and relu, in place: for kernels that do not do it in their store."""
    if bias is not None:
        y += bias.reshape(-1, *(1,) * (y.ndim - 2))
    if relu:
        np.maximum(y, 0, out=y)
    return y
