"""VGG-16 under torchvision's names, and a small network of the same kind for small images.

    224 -64C3x2-P2-> 112 -128C3x2-P2-> 56 -256C3x3-P2-> 28 -512C3x3-P2-> 14 -512C3x3-P2-> 7 -> 4096 -> 4096 -> classes

Two convolutions of 3x3 see what one of 5x5 sees, for 18 C^2 weights in place of 25 C^2, with a ReLU more.
Source: K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015), table 1 D.
"""

from __future__ import annotations

from ..nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)
from .architecture import Shape, channels_of

VGG16 = (64, 64, "P", 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, "P", 512, 512, 512, "P")
SMALL = (32, 32, "P", 64, 64, "P", 128, 128, "P")


def vgg16(image: Shape, classes: int) -> Module:
    """138,357,544 parameters for three channels and 1,000 classes; images of other sizes are pooled to 7x7 cells."""
    C = channels_of("vgg16", image, 32)
    net = Sequential({
        "features": _features(C, VGG16), "avgpool": AdaptiveAvgPool2d(7), "flatten": Flatten(),
        "classifier": Sequential(Linear(512 * 7 * 7, 4096), ReLU(), Dropout(0.5), Linear(4096, 4096), ReLU(), Dropout(0.5),
                                 Linear(4096, classes))})
    for layer in net.modules():
        if isinstance(layer, Conv2d):  # as torchvision starts it, after He et al. (2015)
            init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            init.zeros_(layer.bias)
        elif isinstance(layer, Linear):
            init.normal_(layer.weight, 0.0, 0.01)
            init.zeros_(layer.bias)
    return net


def vgg_small(image: Shape, classes: int) -> Module:
    """32C3x2-P2-64C3x2-P2-128C3x2-P2-classes with batch normalisation: six convolutions, trained in minutes on two cores."""
    C = channels_of("vgg-small", image, 8)
    cells = (image[1] // 8) * (image[2] // 8)
    return Sequential({"features": _features(C, SMALL, normalised=True), "flatten": Flatten(), "drop": Dropout(0.5),
                       "classifier": Linear(128 * cells, classes)})


def _features(C: int, plan: tuple[int | str, ...], normalised: bool = False) -> Sequential:
    """Convolutions of 3x3 with these numbers of maps, and "P" for a pooling by 2."""
    layers: list[Module] = []
    for maps in plan:
        if isinstance(maps, str):
            layers.append(MaxPool2d(2))
            continue
        layers.append(Conv2d(C, maps, 3, padding=1, bias=not normalised))
        layers += [BatchNorm2d(maps), ReLU()] if normalised else [ReLU()]
        C = maps
    return Sequential(*layers)
