"""Fixed filters, to look at what a convolution does: mean, Gaussian, Sobel, Laplacian, sharpening.

Each is a weight for conv2d: (1, 1, k, k) for images of one channel, or (C, 1, k, k) with groups=C to treat C channels
alike. conv2d is a cross-correlation, so the numbers stand as they are applied: Sobel's "x" answers with plus where an image
gets brighter to the right. padding="same" keeps the size and takes what lies outside for black; ops.shape.pad knows other
borders. A median is no convolution: see ops.pool.median_filter for what that makes possible.
"""

from __future__ import annotations

from math import ceil, isfinite
from typing import Any

import numpy as np

from .tensor import Tensor

__all__ = ["gaussian", "laplacian", "mean", "sharpen", "sobel"]


def mean(size: int = 3, channels: int = 1, dtype: Any = np.float32) -> Tensor:
    """The mean of size x size cells. Raises: ValueError for a size below 1.

    >>> mean(2).tolist()
    [[[[0.25, 0.25], [0.25, 0.25]]]]
    """
    k = _count("size", size)
    return _weight(np.full((k, k), 1 / k**2), channels, dtype)


def gaussian(sigma: float = 1.0, size: int | None = None, channels: int = 1, dtype: Any = np.float32) -> Tensor:
    """Weights exp(-r^2 / (2 sigma^2)) by the distance r from the centre in cells, divided by their sum.

    size: by default so large that 3 sigma fit on each side. Raises: ValueError for a sigma that is not positive.
    """
    if not (isfinite(sigma) and sigma > 0):
        raise ValueError(f"gaussian wants a finite sigma above 0, in cells; got {sigma!r}")
    k = 2 * ceil(3 * sigma) + 1 if size is None else _count("size", size)
    away = np.arange(k) - (k - 1) / 2
    bell = np.exp(-(away**2 - (away**2).min()) / (2 * sigma**2))  # the middle is 1, however narrow the bell
    bell /= bell.sum()
    return _weight(np.outer(bell, bell), channels, dtype)


def sobel(axis: str = "x", channels: int = 1, dtype: Any = np.float32) -> Tensor:
    """Eight times the slope to the right ("x") or downwards ("y"), smoothed across it.

    >>> import tinyconv as tc
    >>> image = tc.tensor([[[[0.0, 0.0, 5.0, 5.0]] * 4]])  # dark on the left, bright on the right
    >>> tc.nn.functional.conv2d(image, sobel("x")).tolist()  # finds the edge
    [[[[20.0, 20.0], [20.0, 20.0]]]]
    >>> tc.nn.functional.conv2d(image, sobel("y")).tolist()  # and nothing changes downwards
    [[[[0.0, 0.0], [0.0, 0.0]]]]
    """
    if axis not in ("x", "y"):
        raise ValueError(f'sobel wants axis "x" (slope to the right) or "y" (downwards), got {axis!r}')
    to_the_right = np.outer([1, 2, 1], [-1, 0, 1])
    return _weight(to_the_right if axis == "x" else to_the_right.T, channels, dtype)


def laplacian(diagonals: bool = False, channels: int = 1, dtype: Any = np.float32) -> Tensor:
    """The sum of the four neighbours (of all eight, with diagonals) minus as many times the cell: 0 on any slope."""
    around = np.array([[diagonals, 1, diagonals], [1, 0, 1], [diagonals, 1, diagonals]], float)
    around[1, 1] = -around.sum()
    return _weight(around, channels, dtype)


def sharpen(amount: float = 1.0, channels: int = 1, dtype: Any = np.float32) -> Tensor:
    """The image minus `amount` times its Laplacian: edges are overdrawn, flat parts stay.

    >>> sharpen().tolist()[0][0]
    [[0.0, -1.0, 0.0], [-1.0, 5.0, -1.0], [0.0, -1.0, 0.0]]
    """
    if not isfinite(amount):
        raise ValueError(f"sharpen wants a finite amount, got {amount!r}")
    image = np.zeros((3, 3))
    image[1, 1] = 1
    edges = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    return _weight(image - amount * edges + 0.0, channels, dtype)


def _weight(kernel: np.ndarray, channels: int, dtype: Any) -> Tensor:
    """The kernel once for each channel: (channels, 1, k, k)."""
    to = np.dtype(dtype)
    if to.kind != "f":
        raise TypeError(f"a filter holds floats, not {to}")
    return Tensor.wrap(np.tile(kernel, (_count("channels", channels), 1, 1, 1)).astype(to))


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1, got {value!r}")
    return value
