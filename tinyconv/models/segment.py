"""Networks that give every pixel a class: x (N, C, H, W) -> logits (N, classes, H, W), for sizes of 2^depth and more.

Seeing far takes pooling, and pooling loses where things are. Three ways to have it back, each a picture of the first half:

    FCN      coarse scores are enlarged by 2, and the scores of the layer that has this size are added: a skip
    U-Net    features are enlarged by 2, and the features of the encoder at this size are set beside them
    SegNet   each maximum goes back to the cell it came from, by the indices of the encoder's pooling; the rest is 0

Read next: context.py, which sees far without pooling.
"""

from __future__ import annotations

from itertools import pairwise

from ..nn import BatchNorm2d, Conv2d, ConvTranspose2d, MaxPool2d, MaxUnpool2d, Module, ModuleList, ReLU, Sequential, init
from ..ops import cat
from ..tensor import Tensor


def conv_block(C: int, O: int, convs: int = 2) -> Sequential:
    """Convolutions of 3x3 that keep the size, each with batch normalisation and ReLU: C -> O -> ... -> O channels."""
    layers: list[Module] = []
    for i in range(convs):
        conv = Conv2d(O if i else C, O, 3, padding=1, bias=False)
        init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, BatchNorm2d(O), ReLU()]
    return Sequential(*layers)


class FCN(Module):
    """A fully convolutional network with skips: of width, 2 width, 4 width, ... maps behind `depth` poolings by 2.

    The scores of the deepest layer are enlarged by 2 and added to those of the layer before, `skips` times (by default as
    often as there are layers), then enlarged to the size of the image. Enlarging starts as bilinear interpolation.
    Source: J. Long, E. Shelhamer, T. Darrell, "Fully convolutional networks for semantic segmentation" (2015), figure 3.
    """

    def __init__(self, in_channels: int, classes: int, width: int = 16, depth: int = 3, skips: int | None = None):
        skips = depth - 1 if skips is None else skips
        if not 0 <= skips < depth:
            raise ValueError(f"FCN of depth {depth} has scores to skip to at {depth - 1} sizes, got skips={skips}")
        widths = [in_channels, *(width << i for i in range(depth))]
        self.stages = ModuleList(Sequential(conv_block(c, o), MaxPool2d(2)) for c, o in pairwise(widths))
        self.scores = ModuleList(Conv2d(w, classes, 1) for w in reversed(widths[depth - skips:]))
        self.enlarge = ModuleList(_bilinear(classes, 2) for _ in range(skips))
        self.last = _bilinear(classes, 1 << (depth - skips))

    def forward(self, x: Tensor) -> Tensor:
        size, found = x.shape[2:], []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        y = self.scores[0](found.pop())
        for score, enlarge in zip(self.scores[1:], self.enlarge):
            skip = found.pop()
            y = enlarge(y, output_size=skip.shape[2:]) + score(skip)
        return self.last(y, output_size=size)


def _bilinear(channels: int, factor: int) -> ConvTranspose2d:
    """Enlarging by a factor, channel by channel: interpolation to begin with, and then what training makes of it."""
    layer = ConvTranspose2d(channels, channels, 2 * factor, factor, padding=factor // 2, groups=channels, bias=False)
    init.bilinear_(layer.weight)
    return layer


class UNet(Module):
    """A U: down `depth` poolings by 2 while maps double from `width`, and up again, beside what came down at each size.

    The convolutions are padded, so that the result has the size of the image (the paper's crops instead), and normalised.
    Source: O. Ronneberger, P. Fischer, T. Brox, "U-Net: convolutional networks for biomedical image segmentation" (2015).
    """

    def __init__(self, in_channels: int, classes: int, width: int = 16, depth: int = 3):
        widths = [width << i for i in range(depth + 1)]
        self.down = ModuleList(conv_block(c, o) for c, o in pairwise([in_channels, *widths]))
        self.pool = MaxPool2d(2)
        self.up = ModuleList(ConvTranspose2d(c, o, 2, 2) for c, o in pairwise(reversed(widths)))
        self.merge = ModuleList(conv_block(2 * w, w) for w in reversed(widths[:-1]))
        self.head = Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for down in self.down:
            x = down(self.pool(x) if skips else x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge):
            skip = skips.pop()
            x = merge(cat([skip, up(x, output_size=skip.shape[2:])], 1))
        return self.head(x)


class SegNet(Module):
    """An encoder of `depth` poolings by 2, and its mirror image, where each maximum goes back to the cell it came from.

    No features are carried over, only indices; a decoder's convolutions make the sparse maps dense.
    Source: V. Badrinarayanan, A. Kendall, R. Cipolla, "SegNet: a deep convolutional encoder-decoder architecture for image
    segmentation" (2017).
    """

    def __init__(self, in_channels: int, classes: int, width: int = 16, depth: int = 3):
        widths = [in_channels, *(width << i for i in range(depth))]
        self.encoder = ModuleList(conv_block(c, o) for c, o in pairwise(widths))
        self.pool, self.unpool = MaxPool2d(2, return_indices=True), MaxUnpool2d(2)
        self.decoder = ModuleList(conv_block(c, o) for c, o in pairwise([*reversed(widths[1:]), width]))
        self.head = Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        places = []
        for encoder in self.encoder:
            x = encoder(x)
            size = x.shape[2:]
            x, indices = self.pool(x)
            places.append((indices, size))
        for decoder in self.decoder:
            x = decoder(self.unpool(x, *places.pop()))
        return self.head(x)
