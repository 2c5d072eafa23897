"""Networks of a few layers. The notation: 20C5 is 20 maps of 5x5, P2 max pooling by 2, a number alone a linear layer.

All end in logits: the softmax is in the loss. Read next: lenet.py; train/loop.py, which trains them.
"""

from __future__ import annotations

from math import prod

from ..nn import Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential
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
