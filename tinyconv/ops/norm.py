"""Normalisation and dropout.

    y = (x - mean) / sqrt(var + eps) * weight + bias        mean and variance over one image, sample, group or batch

Batch, layer, instance and group norm differ only in what shares a mean and what shares a weight; a NormDims says so, and one
pair of kernels serves all four. They are fused: one pass forward and one backward, and for higher derivatives their parts.
Read next: kernels/norm/reference.py, the formulas; kernels/norm/direct.py, the passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from ..device import kind, same_device
from ..dims import NormDims
from ..forms import adjoint_pair, fused, self_adjoint
from ..op import Op
from ..registry import choose
from ..tensor import Tensor
from .linalg import align_dtypes
from .pointwise import relu as relu_of
from .pool import avg_pool, draw
from .reduce import mean as mean_over
from .shape import permute, reshape

Stats = tuple[Any, Any]


def _forward(x: Any, w: Any, b: Any, dims: NormDims, eps: float, stats: Stats, fixed: bool, relu: bool = False) -> Any:
    return choose("norm", dims, x.dtype, kind(x)).fn(x, w, b, dims, eps, stats if fixed else None, relu)


def _backward(needs: Any, g: Any, out: Any, x: Any, w: Any, b: Any, dims: NormDims, eps: float, stats: Stats,
              fixed: bool) -> tuple:
    return choose("norm_grad", dims, x.dtype, kind(x)).fn(g, x, w, *stats, dims, eps, fixed, out)


def _parts(x: Tensor, w: Tensor, b: Tensor, dims: NormDims, eps: float, stats: Stats, fixed: bool) -> Tensor:
    N, S, K, L, P = dims
    away = reshape(x, N, S, K, L) - Tensor.wrap(stats[0].reshape(1, S, 1, 1)) if fixed else _centred(reshape(x, N, S, K, L))
    var = Tensor.wrap(stats[1].reshape(1, S, 1, 1)) if fixed else mean_over(away * away, (0, 2, 3), True)
    xhat = reshape(away * (var + eps) ** -0.5, N, S // P, P, K, L)
    return reshape(xhat * reshape(w, P, K, 1) + reshape(b, P, K, 1), x.shape)


def _centred(x: Tensor) -> Tensor:
    return x - mean_over(x, (0, 2, 3), True)


batch_norm_op, layer_norm_op, instance_norm_op, group_norm_op = (
    fused(name, _parts, _forward, _backward) for name in ("batch_norm", "layer_norm", "instance_norm", "group_norm"))
batch_norm_relu_op = fused("batch_norm_relu", lambda *operands, **meta: relu_of(_parts(*operands, **meta)),
                           partial(_forward, relu=True), _backward, keeps="xy")  # only relu keeps the result, to mask g by


def _normalise(op: Op, x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: NormDims, eps: float,
               given: Stats | None = None, relu: bool = False) -> tuple[Tensor, Any, Any]:
    """The normalised x, and the mean and biased variance of each s."""
    w = Tensor.wrap(np.ones_like(x.data, shape=dims.P * dims.K)) if weight is None else weight
    b = Tensor.wrap(np.zeros_like(x.data, shape=dims.P * dims.K)) if bias is None else bias
    same_device(op.name, x.data, w.data, b.data, *(given or ()))
    if not x.dtype == w.dtype == b.dtype:
        x, w, b = align_dtypes(x, w, b)
    if w.data.ndim > 1 or b.data.ndim > 1:
        w, b = reshape(w, -1), reshape(b, -1)
    y, mean, var = choose("norm", dims, x.dtype, kind(x.data)).fn(x.data, w.data, b.data, dims, eps, given, relu)
    meta = {"dims": dims, "eps": eps, "stats": (mean, var), "fixed": given is not None}
    return op.record(y, (x, w, b), meta), mean, var


def batch_norm(x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5, *,
               relu: bool = False) -> Tensor:
    """Mean 0 and variance 1 for each channel over the batch, then times weight plus bias: x (N, C) or (N, C, *spatial).

    In training with the batch's own statistics, which also move running_mean and running_var (the unbiased variance) by
    `momentum` of the way; otherwise with the running ones. All of them and the weights have shape (C,). relu: the larger
    of the result and 0, in the same pass.
    Raises: ValueError in training with a single value per channel, without running statistics outside of it, and for
    other shapes.
    Source: Ioffe and Szegedy (2015).
    """
    C = _channels("batch_norm", x)
    _check_shapes("batch_norm", (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if x.data.ndim == 2:  # (N, C): each channel a run of N, once it is turned
        return permute(batch_norm(reshape(permute(x, 1, 0), 1, C, -1), running_mean, running_var, weight, bias, training,
                                  momentum, eps, relu=relu).reshape(C, -1), 1, 0)
    dims, op = NormDims(x.data.shape[0], C, 1, prod(x.data.shape[2:]), C), batch_norm_relu_op if relu else batch_norm_op
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm with training=False wants running_mean and running_var")
        return _normalise(op, x, weight, bias, dims, eps, _as(x, running_mean, running_var), relu)[0]
    _check_count("batch_norm", "channel", dims, x)
    y, mean, var = _normalise(op, x, weight, bias, dims, eps, None, relu)
    _track(running_mean, mean, momentum)
    _track(running_var, var * (dims.values / (dims.values - 1)), momentum)
    return y


def instance_norm(x: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
                  weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1,
                  eps: float = 1e-5) -> Tensor:
    """Mean 0 and variance 1 for each channel of each image: x (N, C, *spatial), weight and bias (C,).

    Running statistics, if given, follow the average over the batch, and stand in where use_input_stats is False.
    Raises: ValueError for a single value per channel and image. Source: Ulyanov, Vedaldi and Lempitsky (2016).
    """
    C = _channels("instance_norm", x)
    _check_shapes("instance_norm", (C,), running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    N = x.data.shape[0]
    dims = NormDims(1, N * C, 1, prod(x.data.shape[2:]), C)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError("instance_norm with use_input_stats=False wants running_mean and running_var")
        given = _as(x, running_mean, running_var)
        return _normalise(instance_norm_op, x, weight, bias, dims, eps, (np.tile(given[0], N), np.tile(given[1], N)))[0]
    _check_count("instance_norm", "channel and image", dims, x)
    y, mean, var = _normalise(instance_norm_op, x, weight, bias, dims, eps)
    if N:  # an empty batch has no statistics to follow
        _track(running_mean, mean.reshape(N, C).mean(0), momentum)
        _track(running_var, var.reshape(N, C).mean(0) * (dims.values / (dims.values - 1)), momentum)
    return y


def group_norm(x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:
    """Mean 0 and variance 1 for each of num_groups groups of channels of each image: x (N, C, *spatial), weight (C,).

    Raises: ValueError where the groups do not divide the channels. Source: Wu and He (2018).
    """
    C = _channels("group_norm", x)
    if num_groups < 1 or C % num_groups:
        raise ValueError(f"group_norm cannot divide {C} channels into {num_groups} groups")
    _check_shapes("group_norm", (C,), weight=weight, bias=bias)
    N, *_ = x.data.shape
    dims = NormDims(1, N * num_groups, C // num_groups, prod(x.data.shape[2:]), num_groups)
    _check_count("group_norm", "group", dims, x)
    return _normalise(group_norm_op, x, weight, bias, dims, eps)[0]


def layer_norm(x: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:
    """Mean 0 and variance 1 over the last dimensions, which are normalized_shape; weight and bias have that shape too.

    Raises: ValueError where x ends otherwise. Source: Ba, Kiros and Hinton (2016).
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    _check_floats("layer_norm", x, 1)
    if not shape or x.data.shape[-len(shape):] != shape:
        raise ValueError(f"layer_norm over {shape} wants an input that ends in these sizes, got {x.shape}")
    _check_shapes("layer_norm", shape, weight=weight, bias=bias)
    features = prod(shape)
    dims = NormDims(1, x.numel() // max(features, 1), features, 1, 1)
    return _normalise(layer_norm_op, x, weight, bias, dims, eps)[0]


def _window(x: Any, before: int, after: int) -> Any:
    """y[:, c] = sum of x[:, c - before] to x[:, c + after], where they exist."""
    return choose("channel_window", x.shape, x.dtype, kind(x)).fn(x, before, after)


window_op, _ = adjoint_pair("channel_window", _window,
                            "channel_window_adjoint", lambda y, before, after: _window(y, after, before))


def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *,
                        within_channel: bool = False) -> Tensor:
    """x / (k + alpha/size * sum of x^2 over `size` neighbouring channels)^beta: x (N, C, *spatial).

    The sum runs over channels c - size//2 to c + (size-1)//2. As in PyTorch alpha is divided by size, which the paper does
    not: its alpha is alpha/size here. Source: Krizhevsky, Sutskever and Hinton (2012), section 3.3.
    within_channel: the sum runs over `size` cells along each spatial axis of the same channel instead, and alpha is divided
    by their number, size^n; outside of the image x is 0.
    """
    _channels("local_response_norm", x)
    if x.data.ndim < (3 if within_channel else 2) or size < 1:
        raise ValueError(f"local_response_norm wants an input (N, C, *spatial) and a size of at least 1, got {x.shape} and "
                         f"{size}")
    if within_channel:
        around = ((size // 2, (size - 1) // 2),) * (x.data.ndim - 2)
        return x * (avg_pool(x * x, size, 1, around) * alpha + k) ** -beta
    reach = {"before": size // 2, "after": (size - 1) // 2}
    y, scale = _response(x.data, reach, alpha / size, beta, k)
    meta = {"reach": reach, "alpha": alpha / size, "beta": beta, "k": k, "scale": scale}
    return local_response_norm_op.record(y, (x,), meta)


def _response(x: Any, reach: dict, alpha: float, beta: float, k: float) -> tuple[Any, Any]:
    return choose("response", x.shape, x.dtype, kind(x)).fn(x, **reach, alpha=alpha, beta=beta, k=k)


def _lrn(x: Any, reach: dict, alpha: float, beta: float, k: float, scale: Any) -> Any:
    return _response(x, reach, alpha, beta, k)[0]


def _lrn_grad(needs: Any, g: Any, out: None, x: Any, reach: dict, alpha: float, beta: float, k: float, scale: Any) -> list:
    return [choose("response_grad", x.shape, x.dtype, kind(x)).fn(g, x, scale, **reach, alpha=alpha, beta=beta)]


def _lrn_parts(x: Tensor, reach: dict, alpha: float, beta: float, k: float, scale: Any) -> Tensor:
    return x * (window_op(x * x, **reach) * alpha + k) ** -beta


local_response_norm_op = fused("local_response_norm", _lrn_parts, _lrn, _lrn_grad)

# given what is dropped, dropout is linear
dropout_op = self_adjoint("dropout", lambda x, mask: x * mask)


def dropout(x: Tensor, p: float = 0.5, training: bool = True, generator: np.random.Generator | None = None) -> Tensor:
    """Each element 0 with probability p, else times 1/(1-p), so that the mean stays; x itself outside of training.

    Source: Srivastava et al. (2014). The draws come from `generator`, else from the default one. Raises: TypeError in training
    for an x that is not of floats.
    """
    return _drop(x, p, training, x.data.shape, generator)


def dropout2d(x: Tensor, p: float = 0.5, training: bool = True, generator: np.random.Generator | None = None) -> Tensor:
    """dropout of whole channels: x (N, C, *spatial). Source: Tompson et al. (2015)."""
    _channels("dropout2d", x)
    return _drop(x, p, training, x.data.shape[:2] + (1,) * (x.data.ndim - 2), generator)


def _drop(x: Tensor, p: float, training: bool, shape: tuple[int, ...], generator: np.random.Generator | None) -> Tensor:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability must be between 0 and 1, got {p}")
    if not training or p == 0:
        return x
    if x.data.dtype.kind != "f":
        raise TypeError(f"dropout wants a floating-point input, got {x.dtype}")
    keep = draw(x.data, shape, generator) >= p
    return dropout_op(x, mask=keep * x.dtype.type(1 / (1 - p) if p < 1 else 0))


def _channels(name: str, x: Tensor) -> int:
    _check_floats(name, x, 2, " (N, C, *spatial)")
    return x.data.shape[1]


def _check_floats(name: str, x: Tensor, least: int, layout: str = "") -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} wants a Tensor, got {type(x).__name__}: tinyconv.tensor(...) makes one")
    if x.data.ndim < least or x.data.dtype.kind != "f":
        raise ValueError(f"{name} wants a floating-point input{layout}, got {x.dtype} of shape {x.shape}")


def _check_shapes(name: str, shape: tuple[int, ...], **tensors: Tensor | None) -> None:
    for which, t in tensors.items():
        if not isinstance(t, Tensor | None):
            raise TypeError(f"{name} wants {which} as a Tensor, got {type(t).__name__}: tinyconv.tensor(...) makes one")
        if t is not None and t.data.shape != shape:
            raise ValueError(f"{name} wants {which} of shape {shape}, got {t.shape}")


def _check_count(name: str, what: str, dims: NormDims, x: Tensor) -> None:
    if dims.values < 2:
        raise ValueError(f"{name} needs more than one value for each {what} to have a variance; an input of shape {x.shape} "
                         f"has {dims.values}")


def _as(x: Tensor, *stats: Tensor) -> Stats:
    return stats[0].data.astype(x.dtype), stats[1].data.astype(x.dtype)  # copies: a later batch moves the running ones


def _track(running: Tensor | None, value: Any, momentum: float) -> None:
    if running is not None:
        same_device("a layer with running statistics", value, running.data)
        running.copy_((1 - momentum) * running.data + momentum * value)
