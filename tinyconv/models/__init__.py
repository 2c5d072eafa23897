"""Networks by name: a table of builders that take the shape of an image and the number of classes.

    model = build("lenet5", (1, 28, 28), classes=10)

Weights are drawn from the default generator (`tinyconv.manual_seed`). Read next: lenet.py, the network it began with.
"""

from __future__ import annotations

from ..names import unknown
from ..nn import Module
from .architecture import Architecture, ModelError, Shape
from .lenet import lenet5
from .nielsen import NIELSEN
from .normed import bncnn
from .small import cnn, digits, mlp

__all__ = ["MODELS", "Architecture", "ModelError", "build", "find"]

MODELS = {a.name: a for a in (
    Architecture("mlp", "784-100-10: one hidden layer, no convolution; the one to beat", mlp, (1, 28, 28)),
    Architecture("digits", "16C3-32C3-P2-64-10 for images of 8x8", digits, (1, 8, 8)),
    Architecture("lenet5", "LeNet-5 (LeCun et al., 1998): C1 to F6, fully connected C3", lenet5, (1, 32, 32)),
    Architecture("cnn", "20C5-P2-40C5-P2-100-10 with ReLU", cnn, (1, 28, 28)),
    Architecture("bncnn", "32C3-32C3-P2-64C3-64C3-P2-10 with batch norm and ReLU", bncnn, (1, 28, 28)),
    *NIELSEN,
)}


def find(name: str) -> Architecture:
    """The architecture of this name. Raises: ModelError that lists those there are."""
    if name not in MODELS:
        raise ModelError(unknown("model", name, MODELS))
    return MODELS[name]


def build(name: str, image: Shape, classes: int) -> Module:
    """A new network for images (C, H, W) and this many classes: x (N, C, H, W) -> logits (N, classes).

    Raises: ModelError for an unknown name or an image that the network cannot take.

    >>> sum(p.numel() for p in build("digits", (1, 8, 8), 10).parameters())
    38282
    """
    return find(name).build(image, classes)
