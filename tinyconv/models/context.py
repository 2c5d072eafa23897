"""Dilated convolutions: a receptive field that doubles from layer to layer, at the same parameters and the same size.

    layer          1  2  3   4   5   6
    dilation       1  1  2   4   8  16
    sees           3  5  9  17  33  65       2^i + 1 cells, by 9 C^2 weights each

A pooling would halve the size for each doubling; here every pixel keeps a place of its own.
Source: F. Yu, V. Koltun, "Multi-scale context aggregation by dilated convolutions" (2016), section 3 and table 1.
"""

from __future__ import annotations

from ..nn import Conv2d, Module, ReLU, Sequential, init
from .segment import conv_block


class Context(Sequential):
    """`depth` convolutions of 3x3 from C channels to C, dilated by 1, 1, 2, 4, ..., each with a ReLU: sizes stay.

    They start as the identity, the paper's equation 4, and learn what to add from the surroundings.
    """

    def __init__(self, channels: int, depth: int = 6):
        layers: list[Module] = []
        for i in range(depth):
            d = 1 << max(0, i - 1)
            conv = Conv2d(channels, channels, 3, padding=d, dilation=d)
            init.dirac_(conv.weight)
            init.zeros_(conv.bias)
            layers += [conv, ReLU()]
        super().__init__(*layers)


class DilatedNet(Sequential):
    """Segmentation without pooling: two convolutions to `width` maps, a context of `depth` layers, a class for each pixel."""

    def __init__(self, in_channels: int, classes: int, width: int = 16, depth: int = 6):
        super().__init__({"front": conv_block(in_channels, width), "context": Context(width, depth),
                          "head": Conv2d(width, classes, 1)})
