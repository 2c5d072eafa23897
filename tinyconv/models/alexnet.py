"""AlexNet as in the paper, under Caffe's names: five convolutions, three of them in two groups, and three linear layers.

    227 -conv1, 96C11/4-> 55 -pool1-> 27 -conv2, 256C5-> 27 -pool2-> 13 -conv3, 384C3-> 13 -conv4, 384C3-> 13
        -conv5, 256C3-> 13 -pool5-> 6 -> 9216 -fc6-> 4096 -fc7-> 4096 -fc8-> classes

The paper says 224, but (224 - 11)/4 is not whole: its sizes are those of 227. Its normalisation is (2 + 1e-4 * sum)^0.75
over 5 channels, where PyTorch's alpha is divided by the size: 5e-4 here is the paper's 1e-4.
Source: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks" (2012).
"""

from __future__ import annotations

from ..nn import Conv2d, Dropout, Flatten, Linear, LocalResponseNorm, MaxPool2d, Module, ReLU, Sequential, init
from .architecture import Shape, channels_of


def alexnet(image: Shape, classes: int) -> Module:
    """60,965,224 parameters for 3x227x227 and 1,000 classes. Weights start as in the paper, section 5."""
    C = channels_of("alexnet", image, 67)
    h, w = (_cells(size) for size in image[1:])
    net = Sequential({
        "conv1": Conv2d(C, 96, 11, stride=4), "relu1": ReLU(), "norm1": _norm(), "pool1": MaxPool2d(3, 2),
        "conv2": Conv2d(96, 256, 5, padding=2, groups=2), "relu2": ReLU(), "norm2": _norm(), "pool2": MaxPool2d(3, 2),
        "conv3": Conv2d(256, 384, 3, padding=1), "relu3": ReLU(),
        "conv4": Conv2d(384, 384, 3, padding=1, groups=2), "relu4": ReLU(),
        "conv5": Conv2d(384, 256, 3, padding=1, groups=2), "relu5": ReLU(), "pool5": MaxPool2d(3, 2),
        "flatten": Flatten(),
        "fc6": Linear(256 * h * w, 4096), "relu6": ReLU(), "drop6": Dropout(0.5),
        "fc7": Linear(4096, 4096), "relu7": ReLU(), "drop7": Dropout(0.5),
        "fc8": Linear(4096, classes)})
    for name, layer in net.named_children():
        if isinstance(layer, Conv2d | Linear):
            init.normal_(layer.weight, 0.0, 0.01)
            init.constant_(layer.bias, 1.0 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0)
    return net


def _norm() -> LocalResponseNorm:
    return LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def _cells(size: int) -> int:
    """Rows behind pool5: 227 -> 55 -> 27 -> 13 -> 6."""
    size = (size - 11) // 4 + 1
    for _ in range(3):
        size = (size - 3) // 2 + 1
    return size
