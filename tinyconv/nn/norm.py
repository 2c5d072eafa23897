"""Normalisation and dropout layers: the parameters, the running statistics, and one call of ops.norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..ops import norm
from ..tensor import Tensor
from .module import Module, Parameter, check_rank

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Dropout", "Dropout2d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d",
    "InstanceNorm3d", "LayerNorm", "LocalResponseNorm",
]


class _Tracked(Module):
    """A normalisation per channel, with running statistics for evaluation: what batch and instance norm share."""

    ranks: ClassVar[tuple[int, ...]]  # dimensions that the input may have

    def __init__(self, num_features: int, eps: float, momentum: float | None, affine: bool, track_running_stats: bool,
                 dtype: Any):
        self.num_features, self.eps = num_features, eps
        self.momentum: Any = momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        dtype = dtype or np.float32
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine else None
        self.register_buffer("running_mean", np.zeros(num_features, dtype) if track_running_stats else None)
        self.register_buffer("running_var", np.ones(num_features, dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if track_running_stats else None)

    def _check(self, x: Tensor) -> None:
        check_rank(self, x, *self.ranks)
        if x.data.shape[1] != self.num_features and (self.affine or self.track_running_stats):
            raise ValueError(f"{type(self).__name__}({self.num_features}) wants an input of {self.num_features} channels, got "
                             f"{x.data.shape[1]}, of shape {x.shape}")

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"track_running_stats={self.track_running_stats}")


class _BatchNorm(_Tracked):
    """Mean 0 and variance 1 for each channel, over the batch in training, by the running statistics in evaluation.

    momentum: how far each batch moves the running statistics; None averages all batches. affine: times weight plus bias.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, *, dtype: Any = None):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype)

    fuses_relu = True

    def forward(self, x: Tensor, *, relu: bool = False) -> Tensor:
        self._check(x)
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked += 1
            if momentum is None:
                momentum = 1.0 / self.num_batches_tracked.data  # an array: on the GPU, a number would be waited for
        return norm.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                               self.training or not self.track_running_stats, momentum, self.eps, relu=relu)


class BatchNorm1d(_BatchNorm):
    ranks = (2, 3)
    __doc__ = _BatchNorm.__doc__


class BatchNorm2d(_BatchNorm):
    ranks = (4,)
    __doc__ = _BatchNorm.__doc__


class BatchNorm3d(_BatchNorm):
    ranks = (5,)
    __doc__ = _BatchNorm.__doc__


class _InstanceNorm(_Tracked):
    """Mean 0 and variance 1 for each channel of each image; with track_running_stats, running ones in evaluation.

    As in PyTorch num_batches_tracked is part of the state, and stays 0.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, *, dtype: Any = None):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        return norm.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                                  self.training or not self.track_running_stats, self.momentum, self.eps)


class InstanceNorm1d(_InstanceNorm):
    ranks = (3,)
    __doc__ = _InstanceNorm.__doc__


class InstanceNorm2d(_InstanceNorm):
    ranks = (4,)
    __doc__ = _InstanceNorm.__doc__


class InstanceNorm3d(_InstanceNorm):
    ranks = (5,)
    __doc__ = _InstanceNorm.__doc__


class GroupNorm(Module):
    """Mean 0 and variance 1 for each of num_groups groups of channels of each image."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, dtype: Any = None):
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"GroupNorm cannot divide {num_channels} channels into {num_groups} groups")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight = Parameter(np.ones(num_channels, dtype or np.float32)) if affine else None
        self.bias = Parameter(np.zeros(num_channels, dtype or np.float32)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return norm.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class LayerNorm(Module):
    """Mean 0 and variance 1 over the last dimensions, of sizes normalized_shape."""

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, *, dtype: Any = None):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        dtype = dtype or np.float32
        self.weight = Parameter(np.ones(self.normalized_shape, dtype)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(self.normalized_shape, dtype)) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        return norm.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """x / (k + alpha/size * sum of x^2 over `size` neighbouring channels)^beta; see ops.norm.local_response_norm.

    within_channel: neighbours in the plane instead, size along each axis.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, within_channel: bool = False):
        self.size, self.alpha, self.beta, self.k, self.within_channel = size, alpha, beta, k, within_channel

    def forward(self, x: Tensor) -> Tensor:
        return norm.local_response_norm(x, self.size, self.alpha, self.beta, self.k, within_channel=self.within_channel)

    def extra_repr(self) -> str:
        within = ", within_channel=True" if self.within_channel else ""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}{within}"


class Dropout(Module):
    """In training each element is 0 with probability p, else times 1/(1-p). Draws from `generator`, or the default one."""

    def __init__(self, p: float = 0.5, *, generator: np.random.Generator | None = None):
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout probability must be between 0 and 1, got {p}")
        self.p, self.generator = p, generator

    def forward(self, x: Tensor) -> Tensor:
        return norm.dropout(x, self.p, self.training, self.generator)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """Dropout of whole channels of (N, C, *spatial)."""

    def forward(self, x: Tensor) -> Tensor:
        return norm.dropout2d(x, self.p, self.training, self.generator)
