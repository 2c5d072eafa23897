"""Losses. Cross entropy of logits x with a target distribution q over the classes, at each position:

    loss = - sum_c q_c log p_c,   p = softmax(x)        dx = p * sum_c q_c - q

A class index t is the q that is 1 at t; label smoothing mixes in the uniform distribution; class weights scale q_c.
`reduction` is "mean", "sum" or "none"; the mean of a weighted loss divides by the weights of the positions that count.
Read next: norm.py, the other operations with a kernel of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..device import kind, like, same_device
from ..forms import fused
from ..op import Op
from ..registry import choose
from ..tensor import Tensor
from . import pointwise
from .dtypes import floating
from .pointwise import as_tensor, softplus, where
from .reduce import log_softmax, mean
from .reduce import sum as sum_over
from .shape import grid, reshape, take_op

REDUCTIONS = ("mean", "sum", "none")


class Aim(NamedTuple):
    """What a cross entropy aims at: q with one entry a position, `share` at `key` of the logits, or a `dense` q.

    A mean over no position is NaN, but has gradient 0: `rest`, which is added to the sum, is NaN there and 0 elsewhere.
    """

    key: tuple
    share: Any  # a number, or an array shaped like the target; the division of a mean is in it
    dense: Any
    none: bool  # one loss a position, not their sum
    rest: Any = 0.0


def cross_entropy(input: Tensor, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """Softmax and negative log-likelihood in one pass.

    input: logits (N, C), (N, C, d1, ...) or (C,). target: class indices (N,), (N, d1, ...) or (), integers 0 to C-1 or
    ignore_index (those positions count for nothing); or probabilities of the input's shape and of a float dtype.
    weight: (C,), one factor a class. label_smoothing: the share of the target, 0 to 1, spread over all classes.
    Returns: a scalar, or with reduction="none" one loss a position. The mean is NaN where every position is ignored, or there
    is none; the gradient is 0 then.
    Raises: ValueError or TypeError with the shapes, or with the first class that is out of range and where it stands.

    >>> import tinyconv as tc
    >>> round(cross_entropy(tc.tensor([[0.0, 0.0]]), tc.tensor([1])).item(), 4)
    0.6931
    """
    _check_reduction(reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
    x = _logits("cross_entropy", input)
    if x.data.ndim == 1:
        loss = cross_entropy(reshape(x, 1, -1), _lone(target), weight, ignore_index, reduction, label_smoothing)
        return reshape(loss, ()) if reduction == "none" else loss
    t = _array("cross_entropy", x, target)
    w = None if weight is None else _class_weights(weight, x)
    if t.dtype.kind == "f":
        if t.shape != x.data.shape:
            raise ValueError(f"a target of dtype {t.dtype} is read as probabilities and must have the shape of the input, "
                             f"{x.shape}, not {t.shape}; class indices are integers")
        q = target if isinstance(target, Tensor) else Tensor.wrap(t)
        return _soft_cross_entropy(x, q, w, reduction, label_smoothing)
    aim = _aim("cross_entropy", x.data, t, w, ignore_index, reduction, label_smoothing)
    value, p = _forward(x.data, aim)
    return cross_entropy_op.record(value, (x,), {"aim": aim, "p": p})


def _forward(x: Any, aim: Any) -> tuple[Any, Any]:
    """The loss, and what the backward pass wants: p."""
    if aim.dense is None:
        each, p = choose("softmax_nll", x.shape, x.dtype, kind(x)).fn(x, aim.key, x.shape)
        each *= aim.share
    else:
        z = x - x.max(1, keepdims=True)
        p = np.exp(z)
        s = p.sum(1, keepdims=True)
        p /= s
        each = (aim.dense * (np.log(s) - z)).sum(1)
    return each if aim.none else each.sum() + aim.rest, p


def _backward(needs: Any, g: Any, out: None, x: Any, aim: Any, p: Any) -> list:
    if aim.dense is None:
        scale = g * aim.share
        dx = p * (scale[:, None] if scale.ndim else scale)
        dx[aim.key] -= scale
        return [dx]
    g = g[:, None] if aim.none else g
    return [p * (aim.dense.sum(1, keepdims=True) * g) - aim.dense * g]


def _parts(x: Tensor, aim: Any, p: Any) -> Tensor:
    logp = log_softmax(x, 1)
    if aim.dense is None:
        share = aim.share if isinstance(aim.share, float) else Tensor.wrap(aim.share)
        each = take_op(logp, key=aim.key, shape=logp.shape) * share
    else:
        each = sum_over(logp * Tensor.wrap(aim.dense), 1)
    return _total(pointwise.neg(each), aim)


def _total(each: Tensor, aim: Any) -> Tensor:
    """What is asked for: one loss a position, or their sum."""
    return each if aim.none else sum_over(each) + (aim.rest if isinstance(aim.rest, float) else Tensor.wrap(aim.rest))


cross_entropy_op = fused("cross_entropy", _parts, lambda x, aim, p: _forward(x, aim)[0], _backward)


def nll_loss(input: Tensor, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """Negative log-likelihood: minus the entry of each position's class. Arguments as for cross_entropy, with
    log-probabilities (of log_softmax) in place of logits.
    """
    _check_reduction(reduction)
    x = _logits("nll_loss", input)
    if x.data.ndim == 1:
        loss = nll_loss(reshape(x, 1, -1), _lone(target), weight, ignore_index, reduction)
        return reshape(loss, ()) if reduction == "none" else loss
    t = _array("nll_loss", x, target)
    aim = _aim("nll_loss", x.data, t, None if weight is None else _class_weights(weight, x), ignore_index, reduction)
    share = aim.share if isinstance(aim.share, float) else Tensor.wrap(aim.share)
    return _total(pointwise.neg(take_op(x, key=aim.key, shape=x.shape)) * share, aim)


def mse_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """(input - target)^2. Shapes must be equal: a silent broadcast is a common error."""
    _check_reduction(reduction)
    x, t = _same_shape("mse_loss", input, target)
    share = 1.0 / (x.numel() or np.nan) if reduction == "mean" else 1.0
    return squared_error_op(x, t, share=share, none=reduction == "none")


def _squared_error(x: Any, t: Any, share: float, none: bool) -> Any:
    d = x - t
    if none:
        return d * d
    return np.dot(d.ravel(), d.ravel()) * x.dtype.type(share)


def _squared_error_grad(needs: Any, g: Any, out: None, x: Any, t: Any, share: float, none: bool) -> list:
    d = x - t
    d *= g * x.dtype.type(2 * share)
    return [d if needs[0] else None, -d if needs[1] else None]


def _squared_error_parts(x: Tensor, t: Tensor, share: float, none: bool) -> Tensor:
    d = x - t
    return d * d if none else sum_over(d * d) * share


squared_error_op: Op = fused("mse_loss", _squared_error_parts, _squared_error, _squared_error_grad)


def l1_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """|input - target|; its gradient is 0 where they are equal."""
    x, t = _same_shape("l1_loss", input, target)
    return _reduced(pointwise.abs(x - t), reduction)


def huber_loss(input: Tensor, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2/2 where d = |input - target| is below delta, else delta (d - delta/2): square near, linear far."""
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta}")
    x, t = _same_shape("huber_loss", input, target)
    d = pointwise.abs(x - t)
    return _reduced(where(d.data < delta, d * d * 0.5, (d - 0.5 * delta) * delta), reduction)


def smooth_l1_loss(input: Tensor, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """huber_loss with delta = beta, divided by beta; at beta = 0 it is l1_loss."""
    if not beta >= 0:
        raise ValueError(f"beta must be at least 0, got {beta}")
    return huber_loss(input, target, reduction, beta) * (1.0 / beta) if beta else l1_loss(input, target, reduction)


def bce_with_logits(input: Tensor, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> Tensor:
    """-(pos_weight t log p + (1 - t) log(1 - p)) with p = sigmoid(input), for any logit without overflow.

    target: probabilities of the input's shape. weight, pos_weight: factors of every loss and of its first term,
    broadcast to the input.
    """
    x, t = _same_shape("bce_with_logits", input, target)
    # log p = -softplus(-x) and log(1 - p) = -x - softplus(-x)
    tail = softplus(pointwise.neg(x))
    each = (1.0 - t) * x + (tail if pos_weight is None else (t * (as_tensor(pos_weight, x) - 1.0) + 1.0) * tail)
    return _reduced(each if weight is None else each * as_tensor(weight, x), reduction)


def _soft_cross_entropy(x: Tensor, t: Tensor, w: Any, reduction: str, smoothing: float) -> Tensor:
    """Cross entropy with probabilities, which may want a gradient too; the mean is over positions, weights or not."""
    q = t.to(x.dtype)
    if smoothing:
        q = q * (1.0 - smoothing) + smoothing / x.shape[1]
    if w is not None:
        q = q * Tensor.wrap(_along_classes(w, x.ndim))
    return _reduced(pointwise.neg(sum_over(q * log_softmax(x, 1), 1)), reduction)


def _aim(name: str, x: Any, t: Any, w: Any, ignore_index: int, reduction: str, smoothing: float = 0.0) -> Aim:
    """Class indices, checked, as the entries of x that they pick and the factor of each."""
    if t.dtype.kind not in "iu":
        raise TypeError(f"{name} wants class indices of an integer dtype, got {t.dtype}")
    if t.shape != x.shape[:1] + x.shape[2:]:
        raise ValueError(f"{name} of input {x.shape} wants a target of shape {x.shape[:1] + x.shape[2:]}, "
                         f"one class for each position; got {t.shape}")
    C, none = x.shape[1], reduction == "none"
    if type(t) is not np.ndarray:
        return _aim_unseen(x, t, w, ignore_index, reduction, smoothing)
    if w is None and not smoothing and _all_classes(t, C, ignore_index):
        return Aim(_places(t), 1.0 / t.size if reduction == "mean" else 1.0, None, none)
    keep = t != ignore_index
    wrong = keep & ((t < 0) | (t >= C))
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name}: the target holds class {t[at]} at {at}; with {C} classes it must be 0 to {C - 1}, "
                         f"or ignore_index={ignore_index}")
    return _shares(x, np.where(keep, t, 0), keep, w, reduction, smoothing)


def _aim_unseen(x: Any, t: Any, w: Any, ignore_index: int, reduction: str, smoothing: float) -> Aim:
    """The same on the GPU, where to look at the classes would wait for them: one that is out of range makes the loss NaN."""
    C, keep = x.shape[1], t != ignore_index
    inside = (t >= 0) & (t < C)
    aim = _shares(x, np.where(keep & inside, t, 0), keep, w, reduction, smoothing)
    lost = np.where(keep & ~inside, x.dtype.type(np.nan), x.dtype.type(0))
    return aim._replace(share=aim.share + lost, dense=None if aim.dense is None else aim.dense + lost[:, None])


def _shares(x: Any, t: Any, keep: Any, w: Any, reduction: str, smoothing: float) -> Aim:
    """The aim at classes t, all in range, of which those count that are to `keep`."""
    C, none = x.shape[1], reduction == "none"
    share = keep.astype(x.dtype) if w is None else np.where(keep, w[t], x.dtype.type(0))
    total = share.sum() if reduction == "mean" else x.dtype.type(1)
    with np.errstate(divide="ignore", invalid="ignore"):  # where every position is ignored
        rest = 0 * total / total
        share = np.where(keep, share / total, share)
        if not smoothing:
            return Aim(_places(t), share, None, none, rest)
        even = np.where(keep, x.dtype.type(smoothing / C) / total, x.dtype.type(0))[:, None]  # what each class gets
    dense = np.repeat(even, C, 1) if w is None else even * _along_classes(w, x.ndim)
    dense[_places(t)] += share * x.dtype.type(1 - smoothing)
    return Aim(_places(t), share, dense, none, rest)


def _all_classes(t: Any, C: int, ignore_index: int) -> bool:
    """Whether every index is that of a class, in one pass: seen as unsigned, a negative number is a huge one."""
    return t.size > 0 and t.view(f"u{t.itemsize}").max() < C and not 0 <= ignore_index < C


def _places(t: Any) -> tuple:
    """Where in the logits the class of each position stands."""
    n, *rest = grid(t)
    return (n, t, *rest)


def _along_classes(w: Any, ndim: int) -> Any:
    return w.reshape(-1, *(1,) * (ndim - 2))


def _class_weights(weight: Any, x: Tensor) -> Any:
    w = weight.data if isinstance(weight, Tensor) else weight if hasattr(weight, "dtype") else np.asarray(weight)
    same_device("a loss with class weights", x.data, w)
    w = w.astype(x.dtype, copy=False)
    if w.shape != (x.shape[1],):
        raise ValueError(f"weight must hold one factor for each of {x.shape[1]} classes, got shape {w.shape}")
    return w


def _array(name: str, x: Tensor, target: Any) -> Any:
    """A target as an array on the device of x."""
    t = target.data if isinstance(target, Tensor) else target if hasattr(target, "dtype") else like(x.data, np.asarray(target))
    same_device(name, x.data, t)
    return t


def _logits(name: str, x: Any) -> Tensor:
    if not isinstance(x, Tensor) or x.data.dtype.kind != "f":
        raise TypeError(f"{name} wants a floating-point Tensor, got {x.dtype if isinstance(x, Tensor) else type(x).__name__}")
    if x.data.ndim == 0 or x.data.shape[x.data.ndim > 1] == 0:
        raise ValueError(f"{name} wants an input (N, C), (N, C, d1, ...) or (C,) with at least one class, got {x.shape}")
    return x


def _lone(target: Any) -> Any:
    """The target of a single position with its batch axis; probabilities stay on the tape."""
    return (target if isinstance(target, Tensor) else np.asarray(target))[None]


def _same_shape(name: str, input: Tensor, target: Any) -> tuple[Tensor, Tensor]:
    """Both in the input's dtype, or in float32 where that holds integers."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{name} wants a Tensor, got {type(input).__name__}: tinyconv.tensor(...) makes one")
    input = floating(input)
    t = as_tensor(target, input)
    if t.shape != input.shape:
        raise ValueError(f"{name} wants a target of the input's shape {input.shape}, got {t.shape}")
    return input, t if t.dtype == input.dtype else t.to(input.dtype)


def _reduced(each: Tensor, reduction: str) -> Tensor:
    _check_reduction(reduction)
    return each if reduction == "none" else mean(each) if reduction == "mean" else sum_over(each)


def _check_reduction(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
