"""Pooling layers: the geometry of one call of ops.pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..dims import Padding
from ..ops import pool
from ..tensor import Tensor
from .module import Module

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d",
]

Size = int | Sequence[int]


class _Pool(Module):
    rank: int

    def _check(self, x: Tensor) -> None:
        if x.data.ndim != self.rank + 2:
            raise ValueError(f"{type(self).__name__} wants an input (N, C, *spatial) of {self.rank + 2} dimensions, got shape "
                             f"{x.shape}")


class _MaxPool(_Pool):
    """Largest cell of each window; with return_indices a pair of the values and their positions in the plane.

    stride defaults to kernel_size. Of equal cells the first wins. See ops.pool.max_pool.
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = 0, dilation: Size = 1,
                 return_indices: bool = False, ceil_mode: bool = False, *, algorithm: str | None = None):
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.dilation, self.return_indices, self.ceil_mode, self.algorithm = dilation, return_indices, ceil_mode, algorithm

    @property
    def takes_maximum(self) -> bool:  # type: ignore[override]
        return not self.return_indices

    def forward(self, x: Tensor) -> Any:
        self._check(x)
        return pool.max_pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices,
                             algorithm=self.algorithm)

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
        self._check(x)
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
        self._check(x)
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
        self._check(x)
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
