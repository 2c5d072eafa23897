"""The layers as functions, under PyTorch's names: what ops holds, with the number of spatial dimensions checked."""

from __future__ import annotations

from typing import Any

from ..dims import Padding
from ..ops import conv, conv_transpose, linear, log_softmax, pad, softmax
from ..ops.loss import (
    bce_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from ..ops.pointwise import leaky_relu, relu, sigmoid, silu, softplus, tanh
from ..tensor import Tensor

__all__ = [
    "binary_cross_entropy_with_logits", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "cross_entropy", "huber_loss", "l1_loss", "leaky_relu", "linear", "log_softmax", "mse_loss", "nll_loss",
    "pad", "relu", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softplus", "tanh",
]

binary_cross_entropy_with_logits = bce_with_logits


def _ranked(rank: int, name: str, x: Any) -> Any:
    if isinstance(x, Tensor) and x.ndim != rank + 2:
        raise ValueError(f"{name} wants an input of {rank + 2} dimensions, (N, C, *spatial), got shape {x.shape}")
    return x


def conv1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Padding = 0, dilation: Any = 1,
           groups: int = 1, *, algorithm: str | None = None) -> Tensor:
    """Cross-correlation of (N, C, L) with (O, C/groups, K); see ops.conv."""
    return conv(_ranked(1, "conv1d", input), weight, bias, stride, padding, dilation, groups, algorithm=algorithm)


def conv2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Padding = 0, dilation: Any = 1,
           groups: int = 1, *, algorithm: str | None = None) -> Tensor:
    """Cross-correlation of (N, C, H, W) with (O, C/groups, KH, KW); see ops.conv."""
    return conv(_ranked(2, "conv2d", input), weight, bias, stride, padding, dilation, groups, algorithm=algorithm)


def conv3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Padding = 0, dilation: Any = 1,
           groups: int = 1, *, algorithm: str | None = None) -> Tensor:
    """Cross-correlation of (N, C, D, H, W) with (O, C/groups, KD, KH, KW); see ops.conv."""
    return conv(_ranked(3, "conv3d", input), weight, bias, stride, padding, dilation, groups, algorithm=algorithm)


def conv_transpose1d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Padding = 0,
                     output_padding: Any = 0, groups: int = 1, dilation: Any = 1, *, output_size: Any = None,
                     algorithm: str | None = None) -> Tensor:
    """Transposed convolution of (N, C, L) by (C, O/groups, K); see ops.conv_transpose."""
    return conv_transpose(_ranked(1, "conv_transpose1d", input), weight, bias, stride, padding, output_padding, groups,
                          dilation, output_size=output_size, algorithm=algorithm)


def conv_transpose2d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Padding = 0,
                     output_padding: Any = 0, groups: int = 1, dilation: Any = 1, *, output_size: Any = None,
                     algorithm: str | None = None) -> Tensor:
    """Transposed convolution of (N, C, H, W) by (C, O/groups, KH, KW); see ops.conv_transpose."""
    return conv_transpose(_ranked(2, "conv_transpose2d", input), weight, bias, stride, padding, output_padding, groups,
                          dilation, output_size=output_size, algorithm=algorithm)


def conv_transpose3d(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Padding = 0,
                     output_padding: Any = 0, groups: int = 1, dilation: Any = 1, *, output_size: Any = None,
                     algorithm: str | None = None) -> Tensor:
    """Transposed convolution of (N, C, D, H, W) by (C, O/groups, KD, KH, KW); see ops.conv_transpose."""
    return conv_transpose(_ranked(3, "conv_transpose3d", input), weight, bias, stride, padding, output_padding, groups,
                          dilation, output_size=output_size, algorithm=algorithm)
