"""Augmentation: functions (x, rng) -> x on a batch (N, C, H, W), for a Loader's `transform` or for a whole set.

Each function here makes such a transform. It leaves x as it is and returns a new array; every sample draws its own luck
from the Generator, all samples at once. Put shift, crop and flip before normalise: there they move a quarter of the
bytes, and the border that they fill with 0 is as black as the rest of the background.
Read next: loader.py, which hands each batch its own random stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def compose(*transforms: Transform) -> Transform:
    """The transforms one after the other, the first named first.

    >>> augment = compose(shift(2), flip(), normalise(0.13, 0.31))
    >>> x = augment(np.zeros((4, 1, 28, 28), np.uint8), np.random.default_rng(0))
    >>> x.shape, x.dtype
    ((4, 1, 28, 28), dtype('float32'))
    """
    for t in transforms:
        if not callable(t):
            raise ValueError(f"compose takes functions (x, rng) -> x, got {t!r}")

    def composed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for t in transforms:
            x = t(x, rng)
        return x

    return composed if any(map(draws, transforms)) else drawless(composed)


def drawless(transform: Transform) -> Transform:
    """The transform, marked as one that draws nothing: a Loader spares it the random stream, and hands it None."""
    setattr(transform, "drawless", transform)  # noqa: B010 - itself: functools.wraps hands attributes on to others
    return transform


def draws(transform: Transform) -> bool:
    """Whether a transform may draw from its generator: unless it is marked."""
    return getattr(transform, "drawless", None) is not transform


def shift(pixels: int, fill: float = 0) -> Transform:
    """Move each image by up to `pixels` along both axes, every distance equally likely; what comes in is `fill`.

    Raises: ValueError for pixels < 1. Source: P. Simard, D. Steinkraus, J. Platt, ICDAR 2003, section 2.
    """
    if not isinstance(pixels, int | np.integer) or pixels < 1:
        raise ValueError(f"shift by pixels={pixels}: it must be at least 1, an int")
    return crop(None, padding=pixels, fill=fill)


def crop(size: int | tuple[int, int] | None = None, padding: int = 0, fill: float = 0) -> Transform:
    """Pad each image by `padding` cells of `fill` on every side and cut a window of `size` out of it, at random.

    Args: size (OH, OW), one int for both, or None for that of the image, so that crop(padding=4) is what is usual for
    CIFAR. Every position of the window is equally likely.
    Raises: ValueError where the size is below 1, the padding below 0, or the window larger than the padded image.
    """
    window = size if size is None or isinstance(size, Sequence) else (size, size)
    whole = all(isinstance(n, int | np.integer) for n in (padding, *(window or ())))
    if not whole or padding < 0 or (window is not None and (len(window) != 2 or min(window) < 1)):
        raise ValueError(f"crop to size={size} with padding={padding}: the size is one or two ints of at least 1, the "
                         "padding at least 0")

    def cropped(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        N, _, H, W = _image_shape(x)
        OH, OW = window or (H, W)
        rows, cols = H + 2 * padding - OH + 1, W + 2 * padding - OW + 1  # positions of the window
        if min(rows, cols) < 1:
            raise ValueError(f"a window of {OH}x{OW} does not fit into images of {H}x{W} with padding {padding}")
        top, left = rng.integers(0, rows, N), rng.integers(0, cols, N)
        # (N, C, rows, cols, OH, OW), a view: window (i, j) of every image begins at its row i and column j
        windows = sliding_window_view(_pad(x, padding, fill), (OH, OW), axis=(2, 3))
        return windows[np.arange(N), :, top, left]

    return cropped


def flip(p: float = 0.5) -> Transform:
    """Mirror each image left to right with probability p. Raises: ValueError for p outside 0 to 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"flip with p={p}: a probability is 0 to 1")

    def flipped(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(_image_shape(x)[0]) < p
        y = x.copy()
        y[chosen] = x[chosen][..., ::-1]
        return y

    return flipped


def normalise(mean: float | np.ndarray = 0.0, std: float | np.ndarray = 1.0, scale: float = 255) -> Transform:
    """(x/scale - mean)/std, from integers in float32; floating x keeps its dtype.

    Args: mean and std, one number or one a channel (C,), in units of the scaled image, as `mean_std` measures them;
    scale, the value that becomes 1 (255 for MNIST, 16 for `digits`, 1 for images that are scaled already).
    Raises: ValueError where std or scale is not above 0.

    >>> normalise()(np.array([[[[0, 51, 255]]]], np.uint8), np.random.default_rng(0))
    array([[[[0. , 0.2, 1. ]]]], dtype=float32)
    """
    mean, std = np.asarray(mean, float), np.asarray(std, float)
    if not (np.all(std > 0) and scale > 0):
        raise ValueError(f"normalise with std={std} and scale={scale}: both must be above 0")
    if mean.ndim > 1 or std.ndim > 1:
        raise ValueError(f"mean and std are one number or one a channel, got shapes {mean.shape} and {std.shape}")
    centre = np.reshape(scale * mean, (-1, 1, 1))  # (x - scale*mean) / (scale*std): two passes instead of three
    spread = np.reshape(scale * std, (-1, 1, 1))
    shifts = centre.any()

    def normalised(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        C = _image_shape(x)[1]
        if not {len(centre), len(spread)} <= {1, C}:
            raise ValueError(f"mean and std of {max(len(centre), len(spread))} channels for images of {C}")
        y = x.astype(x.dtype if x.dtype.kind == "f" else np.float32)
        if shifts:
            y -= centre.astype(y.dtype)
        y /= spread.astype(y.dtype)
        return y

    return drawless(normalised)


def mean_std(images: np.ndarray, scale: float = 255) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel of images (N, C, H, W), divided by scale: two arrays (C,) of float64.

    A thousand images at a time, so that the whole set is never there in float64.
    """
    N, C, H, W = _image_shape(images)
    if images.size == 0:
        raise ValueError(f"there are no pixels to measure in images of shape {images.shape}")
    total, squares = np.zeros(C), np.zeros(C)
    for start in range(0, N, 1000):
        block = images[start:start + 1000].astype(float)
        total += block.sum((0, 2, 3))
        squares += np.einsum("nchw,nchw->c", block, block)
    mean = total / (N * H * W)
    variance = np.maximum(squares / (N * H * W) - mean * mean, 0)
    return mean / scale, np.sqrt(variance) / scale


def expand_shifts(images: np.ndarray, labels: np.ndarray, pixels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A training set of five times the size: every image, then every one moved down, up, right and left by `pixels`.

    Args: images (N, C, H, W), labels (N,). Returns: images (5*N, C, H, W), labels (5*N,), one copy after the other, so
    shuffle; the edge that comes in is 0. Raises: ValueError where lengths differ or pixels is not 1 to the size - 1.
    Source: M. Nielsen, "Neural Networks and Deep Learning", chapter 6, where it takes 50,000 digits to 250,000.
    """
    N, C, H, W = _image_shape(images)
    if len(labels) != N:
        raise ValueError(f"{N} images and {len(labels)} labels: their lengths differ")
    if not 1 <= pixels < min(H, W):
        raise ValueError(f"expand_shifts by pixels={pixels}: it must be 1 to {min(H, W) - 1} for images of {H}x{W}")
    out = np.zeros((5, N, C, H, W), images.dtype)
    out[0] = images
    out[1, :, :, pixels:] = images[:, :, :-pixels]
    out[2, :, :, :-pixels] = images[:, :, pixels:]
    out[3, :, :, :, pixels:] = images[:, :, :, :-pixels]
    out[4, :, :, :, :-pixels] = images[:, :, :, pixels:]
    return out.reshape(5 * N, C, H, W), np.tile(labels, 5)


def _pad(x: np.ndarray, padding: int, fill: float) -> np.ndarray:
    if not padding:
        return x
    N, C, H, W = x.shape
    padded = np.full((N, C, H + 2 * padding, W + 2 * padding), fill, x.dtype)
    padded[:, :, padding:padding + H, padding:padding + W] = x
    return padded


def _image_shape(x: np.ndarray) -> tuple[int, int, int, int]:
    if x.ndim != 4:
        raise ValueError(f"images are (N, C, H, W), got shape {x.shape}")
    N, C, H, W = x.shape
    return N, C, H, W
