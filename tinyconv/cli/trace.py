"""`tinyconv trace`: one pass of a network on one digit, forward and backward, written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.text import Text

from ..data import digits
from ..models import classifier
from ..nn import Module
from ..nn.functional import cross_entropy
from ..random import manual_seed
from ..tensor import Tensor, from_numpy, tensor
from ..tracing import Trace
from ..tracing import trace as traced
from .screen import console


def trace(name: str, digit: int, seed: int, out: Path | None) -> None:
    """Print the tree, or leave all files in `out` and print their paths."""
    architecture = classifier(name)
    manual_seed(seed)
    model = architecture.build(architecture.image, 10)
    images, labels = digits(train=False)
    image = from_numpy(enlarged(images[digit, 0] / np.float32(16), architecture.image))
    t = one_pass(model, image, tensor(labels[digit:digit + 1]))
    screen = console()
    if out is None:
        screen.print(Text(t.tree(screen.width)), soft_wrap=True)
        return
    for path in t.write(out, f"{name}, forward and backward, on a {labels[digit]}"):
        screen.print(str(path), soft_wrap=True, markup=False)


def one_pass(model: Module, image: Tensor, label: Tensor) -> Trace:
    """The trace of a pass whose kernels have been compiled, by a pass before it."""
    cross_entropy(model(image), label).backward()
    model.zero_grad()
    with traced(model, image=image) as t:
        cross_entropy(model(image), label).backward()
    return t


def enlarged(picture: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A picture of 8x8 in the middle of an image (1, C, H, W), each of its pixels a square."""
    C, H, W = shape
    big = np.kron(picture, np.ones((min(H, W) // 8,) * 2, picture.dtype))
    room = [((n - big.shape[0]) // 2, (n - big.shape[0] + 1) // 2) for n in (H, W)]
    return np.repeat(np.pad(big, room)[None, None], C, axis=1)
