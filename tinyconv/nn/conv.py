"""Convolution layers: a weight, a bias, and the geometry of one call of ops.conv.

Weights are (out, in/groups, *kernel), those of transposed convolutions (in, out/groups, *kernel). Both start uniform on
[-b, b] with b = 1/sqrt(in/groups * cells of the kernel), as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dims import Padding, freeze, per_axis, resolve_padding
from ..ops import conv, conv_transpose, pad
from ..tensor import Tensor
from . import init
from .module import Module, Parameter, check_rank

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

Size = int | Sequence[int]
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What both kinds share: sizes, parameters, their initial values, and the text of repr."""

    rank: int

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size, padding: Padding, dilation: Size,
                 groups: int, bias: bool, algorithm: str | None, dtype: Any, transposed: bool):
        if groups < 1 or in_channels < 1 or out_channels < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"in_channels={in_channels} and out_channels={out_channels} must be positive multiples of "
                             f"groups={groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank)
        self.stride = per_axis("stride", stride, self.rank)
        self.dilation = per_axis("dilation", dilation, self.rank)
        self.padding: Any = freeze(padding)
        self.output_padding: Any = (0,) * self.rank
        self.padding_mode = "zeros"
        self.algorithm = algorithm
        first, second = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        self.weight = Parameter.empty(first, second // groups, *self.kernel_size, dtype=dtype)
        self.bias: Any = Parameter.empty(out_channels, dtype=dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | None = None) -> None:
        """Draw the weight, then the bias, anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound, generator)

    def extra_repr(self) -> str:
        none = ((0,) * self.rank, 0, "valid")
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        text += "" if self.padding in none else f", padding={self.padding}"
        text += "" if self.dilation == (1,) * self.rank else f", dilation={self.dilation}"
        text += "" if self.output_padding in none else f", output_padding={self.output_padding}"
        text += "" if self.groups == 1 else f", groups={self.groups}"
        text += "" if self.bias is not None else ", bias=False"
        text += "" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode}"
        return text + ("" if self.algorithm is None else f", algorithm={self.algorithm}")


class _Conv(_Convolution):
    """y = conv(x, weight) + bias: x (N, in_channels, *spatial) -> (N, out_channels, *output).

    padding: an int, one or a (before, after) pair a dimension, or "valid", "same", "half", "full". padding_mode: what the
    padding holds, "zeros", "reflect", "replicate" or "circular". algorithm: a name of `tinyconv.table("conv")`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Padding = 0,
                 dilation: Size = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", *,
                 algorithm: str | None = None, dtype: Any = None):
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {', '.join(PADDING_MODES)}, got {padding_mode!r}")
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, algorithm, dtype,
                         transposed=False)
        if isinstance(self.padding, int):
            self.padding = (self.padding,) * self.rank
        self.padding_mode = padding_mode

    fuses_relu = True

    def forward(self, x: Tensor, *, relu: bool = False) -> Tensor:
        check_rank(self, x, self.rank + 2)
        padding = self.padding
        if self.padding_mode != "zeros":
            sides = resolve_padding(padding, x.shape[2:], self.kernel_size, self.stride, self.dilation)
            x, padding = pad(x, [n for side in reversed(sides) for n in side], self.padding_mode), 0
        return conv(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups, relu=relu,
                    algorithm=self.algorithm)


class Conv1d(_Conv):
    rank = 1
    __doc__ = _Conv.__doc__


class Conv2d(_Conv):
    rank = 2
    __doc__ = _Conv.__doc__


class Conv3d(_Conv):
    rank = 3
    __doc__ = _Conv.__doc__


class _ConvTranspose(_Convolution):
    """The input gradient of a convolution, used forwards: x (N, in_channels, *spatial) -> (N, out_channels, *larger).

    Every argument is that of the convolution it transposes. A stride s leaves s sizes possible: output_padding says how
    many rows more than the least, or output_size, given to the call, says the spatial size itself.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Padding = 0,
                 output_padding: Size = 0, groups: int = 1, bias: bool = True, dilation: Size = 1, *,
                 algorithm: str | None = None, dtype: Any = None):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, algorithm, dtype,
                         transposed=True)
        if isinstance(self.padding, int):
            self.padding = (self.padding,) * self.rank
        self.output_padding = per_axis("output_padding", output_padding, self.rank, least=0)

    fuses_relu = True

    def forward(self, x: Tensor, output_size: Size | None = None, *, relu: bool = False) -> Tensor:
        check_rank(self, x, self.rank + 2)
        return conv_transpose(x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups,
                              self.dilation, output_size=output_size, relu=relu, algorithm=self.algorithm)


class ConvTranspose1d(_ConvTranspose):
    rank = 1
    __doc__ = _ConvTranspose.__doc__


class ConvTranspose2d(_ConvTranspose):
    rank = 2
    __doc__ = _ConvTranspose.__doc__


class ConvTranspose3d(_ConvTranspose):
    rank = 3
    __doc__ = _ConvTranspose.__doc__
