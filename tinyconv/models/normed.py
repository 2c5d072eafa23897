"""A network of convolutions with batch norm: 32C3-32C3-P2-64C3-64C3-P2-classes, every convolution padded and normalised.

A convolution that a norm follows needs no bias: the norm takes the mean away, and has a bias of its own.
Source: S. Ioffe and C. Szegedy, "Batch normalization" (2015), section 3.2.
"""

from __future__ import annotations

from ..nn import BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential
from .architecture import ModelError, Shape


def bncnn(image: Shape, classes: int) -> Module:
    """For images of 4x4 and more; dropout stands before the one linear layer."""
    C, H, W = image
    if min(H, W) < 4:
        raise ModelError(f"the model bncnn pools twice by 2: images must be at least 4x4, these are {H}x{W}")
    layers: dict[str, Module] = {}
    for i, (n_in, n_out) in enumerate(((C, 32), (32, 32), (32, 64), (64, 64)), 1):
        layers |= {f"conv{i}": Conv2d(n_in, n_out, 3, padding=1, bias=False), f"norm{i}": BatchNorm2d(n_out),
                   f"relu{i}": ReLU()}
        if i % 2 == 0:
            layers[f"pool{i // 2}"] = MaxPool2d(2)
    return Sequential(layers | {"flatten": Flatten(), "dropout": Dropout(0.3), "fc": Linear(64 * (H // 4) * (W // 4), classes)})
