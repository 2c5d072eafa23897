"""A network of depthwise-separable convolutions, each half with batch normalisation and ReLU.

    32 -width C3-> 32 -2 width-> 32 -4 width, /2-> 16 -4 width-> 16 -8 width, /2-> 8 -8 width-> 8 -mean-> classes

Source: A. Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision applications" (2017), section
3.1 and figure 3; the sizes here are those of small images.
"""

from __future__ import annotations

from ..nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, Module, ReLU, Sequential
from .architecture import Shape, channels_of

BLOCKS = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1))  # maps in units of the width, and strides


def separable_block(C: int, O: int, stride: int = 1) -> Sequential:
    """3x3 in space, then 1x1 across channels."""
    return Sequential({
        "depthwise": Conv2d(C, C, 3, stride, padding=1, groups=C, bias=False), "bn1": BatchNorm2d(C), "relu1": ReLU(),
        "pointwise": Conv2d(C, O, 1, bias=False), "bn2": BatchNorm2d(O), "relu2": ReLU()})


def mobilenet(image: Shape, classes: int, width: int = 16) -> Module:
    """Six layers that see, of which five are in two halves."""
    C = channels_of("mobilenet", image, 4)
    net = Sequential({"conv1": Conv2d(C, width, 3, padding=1, bias=False), "bn1": BatchNorm2d(width), "relu1": ReLU()})
    C = width
    for i, (maps, stride) in enumerate(BLOCKS, 1):
        setattr(net, f"block{i}", separable_block(C, maps * width, stride))
        C = maps * width
    net.avgpool, net.flatten, net.fc = AdaptiveAvgPool2d(1), Flatten(), Linear(C, classes)
    return net
