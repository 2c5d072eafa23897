"""Convolutions that do not share all weights: tiled, where neighbours differ, and locally connected, where all places do.

    y[n, o, i, j] = sum over c, kh, kw of x[n, c, i*sh + kh*dh - ph, ...] * w[i mod th, j mod tw][c, kh, kw, o] + b[..., o]

A tile of 1x1 is a convolution, a tile of the size of the output a locally connected layer; between, maps may be invariant to
more than shifts. Each place of the tile is one matrix product of its patches (M = N*OH*OW/(th*tw), K = C*KH*KW, N = O).
Sources: J. Ngiam et al., "Tiled convolutional neural networks" (2010); Y. Taigman et al., "DeepFace" (2014), section 2.2.
"""

from __future__ import annotations

import math
from math import prod

import numpy as np

from ..dims import Padding, conv_dims, freeze, per_axis
from ..ops import matmul, pad, permute, reshape
from ..ops.fold import unfold
from ..tensor import Tensor
from . import init
from .conv import Size
from .module import Module, Parameter

__all__ = ["LocallyConnected2d", "TiledConv2d"]


class TiledConv2d(Module):
    """x (N, in_channels, H, W) -> (N, out_channels, OH, OW); outputs `tile` apart in both directions share their weights.

    weight: (th * tw, in_channels * KH * KW, out_channels), a matrix for each place of the tile, in row-major order; bias:
    (th * tw, out_channels). Both start uniform on [-b, b] with b = 1/sqrt(in_channels * KH * KW), as those of Conv2d.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, tile: Size, stride: Size = 1,
                 padding: Padding = 0, dilation: Size = 1, bias: bool = True):
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.tile = per_axis("kernel_size", kernel_size, 2), per_axis("tile", tile, 2)
        self.stride, self.dilation = per_axis("stride", stride, 2), per_axis("dilation", dilation, 2)
        self.padding = freeze(padding)
        fan_in = in_channels * prod(self.kernel_size)
        self.weight = Parameter.empty(prod(self.tile), fan_in, out_channels)
        self.bias = Parameter.empty(prod(self.tile), out_channels) if bias else None
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | None = None) -> None:
        """Draw the weight, then the bias, anew."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        init.uniform_(self.weight, -bound, bound, generator)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound, generator)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"{type(self).__name__} wants an input (N, {self.in_channels}, H, W), got shape {x.shape}")
        OH, OW = conv_dims(x.shape, (1, self.in_channels, *self.kernel_size), self.stride, self.padding, self.dilation).output
        cols = unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)  # (N, K, OH*OW)
        N, K, _ = cols.shape
        th, tw = self.tile
        A, B = -(-OH // th), -(-OW // tw)  # tiles along each axis, the last of them perhaps cut
        cols = pad(reshape(cols, N, K, OH, OW), (0, B * tw - OW, 0, A * th - OH))
        places = permute(reshape(cols, N, K, A, th, B, tw), 3, 5, 0, 2, 4, 1)  # (th, tw, N, A, B, K)
        y = matmul(reshape(places, th * tw, N * A * B, K), self.weight)  # (th*tw, N*A*B, O)
        if self.bias is not None:
            y = y + reshape(self.bias, th * tw, 1, self.out_channels)
        y = permute(reshape(y, th, tw, N, A, B, self.out_channels), 2, 5, 3, 0, 4, 1)
        return reshape(y, N, self.out_channels, A * th, B * tw)[:, :, :OH, :OW]

    def extra_repr(self) -> str:
        return (f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, tile={self.tile}, "
                f"stride={self.stride}, padding={self.padding}" + ("" if self.bias is not None else ", bias=False"))


class LocallyConnected2d(TiledConv2d):
    """A convolution for images of one size, input_size, that shares no weights: each output place has its own."""

    def __init__(self, in_channels: int, out_channels: int, input_size: Size, kernel_size: Size, stride: Size = 1,
                 padding: Padding = 0, dilation: Size = 1, bias: bool = True):
        self.input_size = per_axis("input_size", input_size, 2)
        kernel = per_axis("kernel_size", kernel_size, 2)
        dims = conv_dims((1, in_channels, *self.input_size), (1, in_channels, *kernel), freeze(stride), freeze(padding),
                         freeze(dilation))
        super().__init__(in_channels, out_channels, kernel, dims.output, stride, padding, dilation, bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.input_size:
            raise ValueError(f"LocallyConnected2d has weights for images of {self.input_size}, got shape {x.shape}")
        return super().forward(x)
