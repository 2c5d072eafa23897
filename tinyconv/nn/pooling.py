"""Pooling layers: the geometry of one call of ops.pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dims import Padding
from ..ops import lp_pool, pool
from ..tensor import Tensor
from .module import Module, Parameter, check_rank

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "GlobalAvgPool", "GlobalMaxPool", "LPPool1d", "LPPool2d",
    "LPPool3d", "LPPoolFeatures", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MedianPool", "MixedPool", "StochasticPool",
]

Size = int | Sequence[int]


class _Pool(Module):
    rank: int


class _MaxPool(_Pool):
    """Largest cell of each window; with return_indices a pair of the values and their positions in the plane.

    stride defaults to kernel_size. Of equal cells the "first" gets the gradient, or all "even" parts of it (ties).
    See ops.pool.max_pool.
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = 0, dilation: Size = 1,
                 return_indices: bool = False, ceil_mode: bool = False, *, ties: str = "first", algorithm: str | None = None):
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode
        self.ties, self.algorithm = ties, algorithm

    @property
    def takes_maximum(self) -> bool:  # type: ignore[override]
        return not self.return_indices

    fuses_relu = True

    def forward(self, x: Tensor, *, relu: bool = False) -> Any:
        check_rank(self, x, self.rank + 2)
        return pool.max_pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices,
                             ties=self.ties, relu=relu, algorithm=self.algorithm)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
                f"ceil_mode={self.ceil_mode}")


class MaxPool1d(_MaxPool):
    rank = 1
    __doc__ = _MaxPool.__doc__


class MaxPool2d(_MaxPool):
    rank = 2
    __doc__ = _MaxPool.__doc__


class MaxPool3d(_MaxPool):
    rank = 3
    __doc__ = _MaxPool.__doc__


class _AvgPool(_Pool):
    """Mean of each window, padding counted unless count_include_pad=False; divisor_override divides by another number.

    stride defaults to kernel_size. See ops.pool.avg_pool.
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, divisor_override: int | None = None, *, algorithm: str | None = None):
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode, self.count_include_pad, self.divisor_override = ceil_mode, count_include_pad, divisor_override
        self.algorithm = algorithm

    def forward(self, x: Tensor) -> Tensor:
        check_rank(self, x, self.rank + 2)
        return pool.avg_pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
                             self.divisor_override, algorithm=self.algorithm)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    rank = 1
    __doc__ = _AvgPool.__doc__


class AvgPool2d(_AvgPool):
    rank = 2
    __doc__ = _AvgPool.__doc__


class AvgPool3d(_AvgPool):
    rank = 3
    __doc__ = _AvgPool.__doc__


class _AdaptiveMaxPool(_Pool):
    """Largest cell of each of `output_size` windows that divide the input evenly; None keeps the size of an axis."""

    def __init__(self, output_size: int | Sequence[int | None] | None, return_indices: bool = False):
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x: Tensor) -> Any:
        check_rank(self, x, self.rank + 2)
        return pool.adaptive_max_pool(x, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    rank = 1
    __doc__ = _AdaptiveMaxPool.__doc__


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    rank = 2
    __doc__ = _AdaptiveMaxPool.__doc__


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    rank = 3
    __doc__ = _AdaptiveMaxPool.__doc__


class _AdaptiveAvgPool(_Pool):
    """Mean of each of `output_size` windows that divide the input evenly; None keeps the size of an axis."""

    def __init__(self, output_size: int | Sequence[int | None] | None):
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        check_rank(self, x, self.rank + 2)
        return pool.adaptive_avg_pool(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    rank = 1
    __doc__ = _AdaptiveAvgPool.__doc__


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    rank = 2
    __doc__ = _AdaptiveAvgPool.__doc__


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    rank = 3
    __doc__ = _AdaptiveAvgPool.__doc__


class _LPPool(_Pool):
    """The p-norm of each window, p = norm_type >= 1 (infinity included). See ops.lp_pool.lp_pool."""

    def __init__(self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False,
                 padding: Padding = 0, *, algorithm: str | None = None):
        self.norm_type, self.kernel_size, self.stride = norm_type, kernel_size, kernel_size if stride is None else stride
        self.ceil_mode, self.padding, self.algorithm = ceil_mode, padding, algorithm

    def forward(self, x: Tensor) -> Tensor:
        check_rank(self, x, self.rank + 2)
        return lp_pool.lp_pool(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode, self.padding,
                               algorithm=self.algorithm)

    def extra_repr(self) -> str:
        return (f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"ceil_mode={self.ceil_mode}")


class LPPool1d(_LPPool):
    rank = 1
    __doc__ = _LPPool.__doc__


class LPPool2d(_LPPool):
    rank = 2
    __doc__ = _LPPool.__doc__


class LPPool3d(_LPPool):
    rank = 3
    __doc__ = _LPPool.__doc__


class LPPoolFeatures(Module):
    """The p-norm over windows of kernel_size neighbouring channels, for any rank. See ops.lp_pool.lp_pool_features."""

    def __init__(self, norm_type: float, kernel_size: int, stride: int | None = None):
        self.norm_type, self.kernel_size, self.stride = norm_type, kernel_size, kernel_size if stride is None else stride

    def forward(self, x: Tensor) -> Tensor:
        return lp_pool.lp_pool_features(x, self.norm_type, self.kernel_size, self.stride)

    def extra_repr(self) -> str:
        return f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}"


class GlobalMaxPool(Module):
    """Largest cell of each plane, for any rank: (N, C, *spatial) -> (N, C, 1, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        return pool.global_max_pool(x)


class GlobalAvgPool(Module):
    """Mean of each plane, for any rank: (N, C, *spatial) -> (N, C, 1, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        return pool.global_avg_pool(x)


class _Windows(Module):
    """What the poolings that PyTorch does not have share: windows, for any rank."""

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = 0, ceil_mode: bool = False):
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, ceil_mode={self.ceil_mode}"


class MedianPool(_Windows):
    """Median cell of each window. See ops.pool.median_pool."""

    def forward(self, x: Tensor) -> Tensor:
        return pool.median_pool(x, self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode)


class StochasticPool(_Windows):
    """In training a cell of each window drawn in proportion to relu(x), else what is expected. See ops.pool.stochastic_pool."""

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = 0, ceil_mode: bool = False, *,
                 generator: np.random.Generator | None = None):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        return pool.stochastic_pool(x, self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode,
                                    training=self.training, generator=self.generator)


class MixedPool(_Windows):
    """a * max + (1 - a) * average of each window; `a` starts at 0.5 and is learned: one, or one for each of `channels`.

    See ops.pool.mixed_pool.
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = 0, ceil_mode: bool = False, *,
                 channels: int = 1, dtype: Any = None):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.a = Parameter(np.full(channels, 0.5, dtype or np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return pool.mixed_pool(x, self.a, self.kernel_size, self.stride, self.padding, self.ceil_mode)
