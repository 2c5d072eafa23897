"""The pictures of the guide, drawn from its parameters: Dumoulin and Visin, "A guide to convolution arithmetic" (2018).

Each has the number of the guide's figure in its name; a transposed one is drawn as the direct convolution it equals.
Read next: geometry.py, what such a picture holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..dims import ConvDims, Padding, conv_dims, conv_transpose_dims, pool_dims
from .draw import draw
from .geometry import Scene, conv_scene, pool_scene, transposed_scene, unpool_scene
from .maps import feature_maps, stride_as_choice
from .matrix import positions, toeplitz

# the numbers of the guide's figures 1.1 to 1.6
X = np.array([[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]])
W = np.array([[0, 1, 2], [2, 2, 0], [0, 1, 2]])


def conv(i: int, k: int, s: int = 1, p: Padding = 0, d: int = 1) -> ConvDims:
    """A square convolution of one channel."""
    return conv_dims((1, 1, i, i), (1, 1, k, k), s, p, d)


def transposed(o: int, k: int, s: int = 1, p: int = 0, a: int = 0) -> ConvDims:
    """The square convolution whose transposed one takes o cells a side."""
    return conv_transpose_dims((1, 1, o, o), (1, 1, k, k), s, p, a)


NINE = range(9)
SCENES: dict[str, tuple[Callable[[], Scene], range | None]] = {
    "1.1-values": (lambda: conv_scene(conv(5, 3), X, W), NINE),
    "1.2-values-strides-padding": (lambda: conv_scene(conv(5, 3, 2, 1), X, W), NINE),
    "1.5-average-pooling": (lambda: pool_scene(pool_dims((1, 1, 5, 5), 3, 1), "average", X), NINE),
    "1.6-max-pooling": (lambda: pool_scene(pool_dims((1, 1, 5, 5), 3, 1), "max", X), NINE),
    "2.1-no-padding": (lambda: conv_scene(conv(4, 3)), None),
    "2.2-arbitrary-padding": (lambda: conv_scene(conv(5, 4, p=2)), None),
    "2.3-half-padding": (lambda: conv_scene(conv(5, 3, p="half")), None),
    "2.4-full-padding": (lambda: conv_scene(conv(5, 3, p="full")), None),
    "2.5-strides": (lambda: conv_scene(conv(5, 3, 2)), None),
    "2.6-padding-strides": (lambda: conv_scene(conv(5, 3, 2, 1)), None),
    "2.7-padding-strides-left-over": (lambda: conv_scene(conv(6, 3, 2, 1)), None),
    "4.1-no-padding-transposed": (lambda: transposed_scene(transposed(2, 3)), None),
    "4.2-arbitrary-padding-transposed": (lambda: transposed_scene(transposed(6, 4, p=2)), None),
    "4.3-half-padding-transposed": (lambda: transposed_scene(transposed(5, 3, p=1)), None),
    "4.4-full-padding-transposed": (lambda: transposed_scene(transposed(7, 3, p=2)), None),
    "4.5-strides-transposed": (lambda: transposed_scene(transposed(2, 3, 2)), None),
    "4.6-padding-strides-transposed": (lambda: transposed_scene(transposed(3, 3, 2, 1)), None),
    "4.7-padding-strides-left-over-transposed": (lambda: transposed_scene(transposed(3, 3, 2, 1, 1)), None),
    "4.x-strides-left-over-transposed": (lambda: transposed_scene(transposed(2, 3, 2, 0, 1)), None),  # not in the guide
    "5.1-dilation": (lambda: conv_scene(conv(7, 3, d=2)), None),
    "unpooling": (lambda: unpool_scene(pool_dims((1, 1, 4, 4), 2), X[:4, 1:], np.arange(1, 5).reshape(2, 2)), None),
}


def draw_guide(folder: str | Path, suffix: str = ".png") -> Iterator[Path]:
    """Draw the whole set into a folder, PNG, SVG or GIF by the suffix, and yield the path of each picture when it is there.

    The matrix, the maps and the counts of positions do not move: beside GIFs they are PNG.
    Raises: PlotError where matplotlib is not installed, DataError or OSError where the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, (scene, steps) in SCENES.items():
        path = folder / f"{name}{suffix}"
        draw(scene(), path, steps)
        yield path
    still = ".png" if suffix == ".gif" else suffix
    feature_maps(2, 3, folder / f"1.3-feature-maps{still}")
    yield folder / f"1.3-feature-maps{still}"
    stride_as_choice(X, W, 2, folder / f"1.4-stride-as-choice{still}")
    yield folder / f"1.4-stride-as-choice{still}"
    for name, dims in (("2.8a-positions", conv(5, 3)), ("2.8b-positions-strides", conv(5, 3, 2))):
        positions(dims, folder / f"{name}{still}")
        yield folder / f"{name}{still}"
    toeplitz(conv(4, 3), folder / f"4.0-matrix{still}")
    yield folder / f"4.0-matrix{still}"
