"""GoogLeNet: modules of four branches side by side, of 1x1, 3x3, 5x5 and pooling, each thinned by 1x1 before it gets wide.

    224 -64C7/2-> 112 -P-> 56 -64C1-192C3-> 56 -P-> 28 -3a 3b-> 28 -P-> 14 -4a to 4e-> 14 -P-> 7 -5a 5b-> 7 -mean-> 1024

Two of it: `googlenet` is the paper's, with biases, local response normalisation and 5x5; `googlenet_bn` is torchvision's, with
batch normalisation, and 3x3 where the paper has 5x5. Names are torchvision's in both. The auxiliary classifiers, which help
training and are thrown away after it, are left out.
Source: C. Szegedy et al., "Going deeper with convolutions" (2015), table 1.
"""

from __future__ import annotations

from functools import partial

from ..nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Identity,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)
from ..ops import cat
from ..tensor import Tensor
from .architecture import Shape, channels_of

#      maps of    1x1, 3x3 thinned and itself, 5x5 thinned and itself, after the pooling
MODULES = {
    "inception3a": (64, 96, 128, 16, 32, 32), "inception3b": (128, 128, 192, 32, 96, 64),
    "maxpool3": (),
    "inception4a": (192, 96, 208, 16, 48, 64), "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64), "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "maxpool4": (),
    "inception5a": (256, 160, 320, 32, 128, 128), "inception5b": (384, 192, 384, 48, 128, 128),
}


class BasicConv2d(Sequential):
    """relu(conv(x)), with batch normalisation between and no bias, or with a bias."""

    def __init__(self, C: int, O: int, kernel_size: int, stride: int = 1, padding: int = 0, *, normalised: bool):
        conv = Conv2d(C, O, kernel_size, stride, padding, bias=not normalised)
        init.kaiming_normal_(conv.weight, nonlinearity="relu")
        if conv.bias is not None:
            init.zeros_(conv.bias)
        super().__init__({"conv": conv, **({"bn": BatchNorm2d(O, eps=0.001)} if normalised else {}), "relu": ReLU()})


class Inception(Module):
    """Four branches of one input, their maps one after another. Sizes stay."""

    def __init__(self, C: int, one: int, three_in: int, three: int, five_in: int, five: int, pooled: int, *, normalised: bool):
        conv = partial(BasicConv2d, normalised=normalised)
        wide = 3 if normalised else 5
        self.branch1 = conv(C, one, 1)
        self.branch2 = Sequential(conv(C, three_in, 1), conv(three_in, three, 3, padding=1))
        self.branch3 = Sequential(conv(C, five_in, 1), conv(five_in, five, wide, padding=wide // 2))
        self.branch4 = Sequential(MaxPool2d(3, 1, padding=1), conv(C, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return cat([branch(x) for branch in self.children()], 1)


def googlenet(image: Shape, classes: int) -> Module:
    """The paper's: 6,998,552 parameters for three channels and 1,000 classes."""
    return _googlenet("googlenet", image, classes, normalised=False)


def googlenet_bn(image: Shape, classes: int) -> Module:
    """torchvision's: 6,624,904 parameters for three channels and 1,000 classes."""
    return _googlenet("googlenet-bn", image, classes, normalised=True)


def _googlenet(name: str, image: Shape, classes: int, normalised: bool) -> Module:
    C = channels_of(name, image, 32)
    conv = partial(BasicConv2d, normalised=normalised)
    norms = [Identity() if normalised else LocalResponseNorm(5, alpha=1e-4, beta=0.75) for _ in range(2)]
    net = Sequential({
        "conv1": conv(C, 64, 7, 2, 3), "maxpool1": MaxPool2d(3, 2, ceil_mode=True), "norm1": norms[0],
        "conv2": conv(64, 64, 1), "conv3": conv(64, 192, 3, padding=1), "norm2": norms[1],
        "maxpool2": MaxPool2d(3, 2, ceil_mode=True)})
    C = 192
    for part, maps in MODULES.items():
        if maps:
            setattr(net, part, Inception(C, *maps, normalised=normalised))
            C = maps[0] + maps[2] + maps[4] + maps[5]
        else:  # torchvision's last pooling has windows of 2
            setattr(net, part, MaxPool2d(2 if normalised and part == "maxpool4" else 3, 2, ceil_mode=True))
    net.avgpool, net.flatten = AdaptiveAvgPool2d(1), Flatten()
    net.dropout, net.fc = Dropout(0.2 if normalised else 0.4), Linear(C, classes)
    return net
