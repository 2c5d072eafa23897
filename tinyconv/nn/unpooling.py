"""Unpooling layers: the geometry of one call of ops.unpool, named by the pooling that they undo."""

from __future__ import annotations

from typing import Any

from ..dims import Padding
from ..ops import unpool
from ..tensor import Tensor
from .module import Module, check_rank
from .pooling import Size

__all__ = ["MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", "Unpool"]


class _MaxUnpool(Module):
    """Each value back to the cell its index names, 0 elsewhere: layer(values, indices, output_size=None).

    stride defaults to kernel_size. duplicates: "add", "mean" or "raise" where windows overlap. See ops.unpool.max_unpool.
    """

    rank: int

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = 0, *, duplicates: str = "add"):
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.duplicates = duplicates

    def forward(self, x: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        check_rank(self, x, self.rank + 2)
        return unpool.max_unpool(x, indices, self.kernel_size, self.stride, self.padding, output_size,
                                 duplicates=self.duplicates)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    rank = 1
    __doc__ = _MaxUnpool.__doc__


class MaxUnpool2d(_MaxUnpool):
    rank = 2
    __doc__ = _MaxUnpool.__doc__


class MaxUnpool3d(_MaxUnpool):
    rank = 3
    __doc__ = _MaxUnpool.__doc__


class Unpool(Module):
    """Each value spread over its window, for any rank: mode "nearest", "bed_of_nails" or "average". See ops.unpool.unpool."""

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Padding = 0, mode: str = "nearest"):
        self.kernel_size, self.stride, self.padding = kernel_size, kernel_size if stride is None else stride, padding
        self.mode = mode

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        return unpool.unpool(x, self.kernel_size, self.stride, self.padding, self.mode, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, mode={self.mode!r}"
