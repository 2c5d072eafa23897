"""Networks of a few layers. The notation: 20C5 is 20 maps of 5x5, P2 max pooling by 2, a number alone a linear layer.

All end in logits: the softmax is in the loss. Read next: lenet.py; train/loop.py, which trains them.
"""

from __future__ import annotations

from math import prod

from ..nn import Conv2d, Flatten, Linear, LocallyConnected2d, MaxPool2d, Module, ReLU, ReNet, Sequential, TiledConv2d
from .architecture import ModelError, Shape


def perceptron(image: Shape, classes: int) -> Module:
    """One layer over the pixels, a score for each class: it can only tell apart what a plane divides, and XOR is not that.

    Source: F. Rosenblatt, "The perceptron" (1958); M. Minsky, S. Papert, "Perceptrons" (1969), on what it cannot do.
    """
    return Sequential({"flatten": Flatten(), "fc": Linear(prod(image), classes)})


def mlp(image: Shape, classes: int) -> Module:
    """One hidden layer of 100 over the pixels: what an image is worth when its geometry is thrown away."""
    return Sequential({
        "flatten": Flatten(),
        "fc1": Linear(prod(image), 100), "relu1": ReLU(),
        "fc2": Linear(100, classes)})


def cnn(image: Shape, classes: int) -> Module:
    """20C5-P2-40C5-P2-100-classes: two convolutions see, two linear layers decide.

    Images under 16 pixels are padded by 2, so that there is something left to pool: (C, 28, 28) -> 12 -> 4, but 8 -> 4 -> 2.
    Source: M. Nielsen, "Neural Networks and Deep Learning", chapter 6, with ReLU in place of the sigmoid.
    """
    C, H, W = image
    padding = 0 if min(H, W) >= 16 else 2
    h, w = ((size - 4 + 2 * padding) // 2 for size in (H, W))
    h, w = ((size - 4 + 2 * padding) // 2 for size in (h, w))
    if min(h, w) < 1:
        raise ModelError(f"the model cnn pools twice by 2: images must be at least 4x4, these are {H}x{W}")
    return Sequential({
        "conv1": Conv2d(C, 20, 5, padding=padding), "relu1": ReLU(), "pool1": MaxPool2d(2),
        "conv2": Conv2d(20, 40, 5, padding=padding), "relu2": ReLU(), "pool2": MaxPool2d(2),
        "flatten": Flatten(),
        "fc1": Linear(40 * h * w, 100), "relu3": ReLU(),
        "fc2": Linear(100, classes)})


def renet(image: Shape, classes: int) -> Module:
    """Two ReNet layers of 32 units on patches of 2x2, and a linear layer: recurrent sweeps in place of convolutions.

    Source: F. Visin et al., "ReNet" (2015), section 4, with an eighth of the units.
    """
    C, H, W = image
    if H % 4 or W % 4:
        raise ModelError(f"the model renet cuts images into 2x2 patches twice: 4 must divide their sizes, these are {H}x{W}")
    return Sequential({
        "renet1": ReNet(C, 32, 2), "renet2": ReNet(64, 32, 2), "flatten": Flatten(),
        "fc": Linear(64 * (H // 4) * (W // 4), classes)})


def local(image: Shape, classes: int) -> Module:
    """16C3 as ever, P2, then 16 maps tiled by 2x2, then 16 locally connected, P2: weights less and less shared.

    Source: Y. Taigman et al., "DeepFace" (2014), for convolutions first and locally connected layers behind them.
    """
    C, H, W = image
    if min(H, W) < 12:
        raise ModelError(f"the model local pools twice by 2: images must be at least 12x12, these are {H}x{W}")
    h, w = H // 2, W // 2
    return Sequential({
        "conv1": Conv2d(C, 16, 3, padding=1), "relu1": ReLU(), "pool1": MaxPool2d(2),
        "tiled2": TiledConv2d(16, 16, 3, tile=2, padding=1), "relu2": ReLU(), "pool2": MaxPool2d(2),
        "local3": LocallyConnected2d(16, 16, (h // 2, w // 2), 3), "relu3": ReLU(), "flatten": Flatten(),
        "fc": Linear(16 * (h // 2 - 2) * (w // 2 - 2), classes)})


def digits(image: Shape, classes: int) -> Module:
    """16C3-32C3-P2-64-classes, padded: for images so small that pooling must wait until both convolutions are done."""
    C, H, W = image
    if min(H, W) < 2:
        raise ModelError(f"the model digits pools by 2: images must be at least 2x2, these are {H}x{W}")
    return Sequential({
        "conv1": Conv2d(C, 16, 3, padding=1), "relu1": ReLU(),
        "conv2": Conv2d(16, 32, 3, padding=1), "relu2": ReLU(), "pool": MaxPool2d(2),
        "flatten": Flatten(),
        "fc1": Linear(32 * (H // 2) * (W // 2), 64), "relu3": ReLU(),
        "fc2": Linear(64, classes)})
