"""The layers as functions, under PyTorch's names: what ops holds, with the number of spatial dimensions checked."""

from __future__ import annotations

from typing import Any

from ..dims import Padding
from ..ops import conv, conv_transpose, linear, log_softmax, pad, pool, resize, softmax
from ..ops import lp_pool as lp
from ..ops.fold import fold, unfold
from ..ops.loss import (
    bce_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    smooth_l1_loss,
)
from ..ops.lp_pool import lp_pool_features
from ..ops.norm import batch_norm, dropout, dropout2d, group_norm, instance_norm, layer_norm, local_response_norm
from ..ops.pointwise import leaky_relu, relu, sigmoid, silu, softplus, tanh
from ..ops.pool import global_avg_pool, global_max_pool, median_filter, median_pool, mixed_pool, stochastic_pool
from ..ops.resize import interpolate
from ..ops.unpool import max_unpool, unpool
from ..tensor import Tensor

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm", "binary_cross_entropy_with_logits",
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cross_entropy", "dropout",
    "dropout2d", "fold", "global_avg_pool", "global_max_pool", "group_norm", "huber_loss", "instance_norm", "interpolate",
    "l1_loss", "layer_norm", "leaky_relu", "linear", "local_response_norm", "log_softmax", "lp_pool1d", "lp_pool2d",
    "lp_pool3d", "lp_pool_features", "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d",
    "max_unpool3d", "median_filter", "median_pool", "mixed_pool", "mse_loss", "nll_loss", "pad", "pixel_shuffle",
    "pixel_unshuffle", "relu", "sigmoid", "silu", "smooth_l1_loss", "softmax", "softplus", "stochastic_pool", "tanh",
    "unfold", "unpool",
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


def max_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False, *, ties: str = "first") -> Any:
    """Largest cell of each window of (N, C, L); see ops.pool.max_pool."""
    return pool.max_pool(_ranked(1, "max_pool1d", input), kernel_size, stride, padding, dilation, ceil_mode, return_indices,
                         ties=ties)


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False, *, ties: str = "first") -> Any:
    """Largest cell of each window of (N, C, H, W); see ops.pool.max_pool."""
    return pool.max_pool(_ranked(2, "max_pool2d", input), kernel_size, stride, padding, dilation, ceil_mode, return_indices,
                         ties=ties)


def max_pool3d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False, *, ties: str = "first") -> Any:
    """Largest cell of each window of (N, C, D, H, W); see ops.pool.max_pool."""
    return pool.max_pool(_ranked(3, "max_pool3d", input), kernel_size, stride, padding, dilation, ceil_mode, return_indices,
                         ties=ties)


def avg_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, ceil_mode: bool = False,
               count_include_pad: bool = True) -> Tensor:
    """Mean of each window of (N, C, L); see ops.pool.avg_pool."""
    return pool.avg_pool(_ranked(1, "avg_pool1d", input), kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """Mean of each window of (N, C, H, W); see ops.pool.avg_pool."""
    return pool.avg_pool(_ranked(2, "avg_pool2d", input), kernel_size, stride, padding, ceil_mode, count_include_pad,
                         divisor_override)


def avg_pool3d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """Mean of each window of (N, C, D, H, W); see ops.pool.avg_pool."""
    return pool.avg_pool(_ranked(3, "avg_pool3d", input), kernel_size, stride, padding, ceil_mode, count_include_pad,
                         divisor_override)


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest cell of each of output_size windows of (N, C, L)."""
    return pool.adaptive_max_pool(_ranked(1, "adaptive_max_pool1d", input), output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest cell of each of output_size windows of (N, C, H, W)."""
    return pool.adaptive_max_pool(_ranked(2, "adaptive_max_pool2d", input), output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest cell of each of output_size windows of (N, C, D, H, W)."""
    return pool.adaptive_max_pool(_ranked(3, "adaptive_max_pool3d", input), output_size, return_indices)


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """Mean of each of output_size windows of (N, C, L)."""
    return pool.adaptive_avg_pool(_ranked(1, "adaptive_avg_pool1d", input), output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Mean of each of output_size windows of (N, C, H, W)."""
    return pool.adaptive_avg_pool(_ranked(2, "adaptive_avg_pool2d", input), output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Mean of each of output_size windows of (N, C, D, H, W)."""
    return pool.adaptive_avg_pool(_ranked(3, "adaptive_avg_pool3d", input), output_size)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm, p = norm_type, of each window of (N, C, L); see ops.lp_pool."""
    return lp.lp_pool(_ranked(1, "lp_pool1d", input), norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm, p = norm_type, of each window of (N, C, H, W); see ops.lp_pool."""
    return lp.lp_pool(_ranked(2, "lp_pool2d", input), norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm, p = norm_type, of each window of (N, C, D, H, W); see ops.lp_pool."""
    return lp.lp_pool(_ranked(3, "lp_pool3d", input), norm_type, kernel_size, stride, ceil_mode)


def max_unpool1d(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0,
                 output_size: Any = None, *, duplicates: str = "add") -> Tensor:
    """Each value of (N, C, L) back to the cell that its index names; see ops.unpool.max_unpool."""
    return max_unpool(_ranked(1, "max_unpool1d", input), indices, kernel_size, stride, padding, output_size,
                      duplicates=duplicates)


def max_unpool2d(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0,
                 output_size: Any = None, *, duplicates: str = "add") -> Tensor:
    """Each value of (N, C, H, W) back to the cell that its index names; see ops.unpool.max_unpool."""
    return max_unpool(_ranked(2, "max_unpool2d", input), indices, kernel_size, stride, padding, output_size,
                      duplicates=duplicates)


def max_unpool3d(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Padding = 0,
                 output_size: Any = None, *, duplicates: str = "add") -> Tensor:
    """Each value of (N, C, D, H, W) back to the cell that its index names; see ops.unpool.max_unpool."""
    return max_unpool(_ranked(3, "max_unpool3d", input), indices, kernel_size, stride, padding, output_size,
                      duplicates=duplicates)


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels of (N, C * r^2, H, W) into pixels (N, C, H * r, W * r); see ops.resize.pixel_shuffle for other ranks."""
    return resize.pixel_shuffle(_ranked(2, "pixel_shuffle", input), upscale_factor)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Pixels of (N, C, H * r, W * r) into channels (N, C * r^2, H, W); see ops.resize.pixel_unshuffle for other ranks."""
    return resize.pixel_unshuffle(_ranked(2, "pixel_unshuffle", input), downscale_factor)
