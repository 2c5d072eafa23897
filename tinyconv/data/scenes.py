"""Scenes: real handwritten digits over clutter, and the class of every pixel, to learn segmentation from.

    label 0 is background, 1 + d is ink of the digit d, VOID the blurred rim of a stroke, which is neither

The digits are MNIST's, found where `mnist` finds them; where they are not, the smaller ones that come with the package, with
a warning that says so. Training and validation draw from two parts of the training digits, test from the test digits: no
digit that is judged was ever learnt from. The same seed gives the same scenes, and the first n of a set do not depend on
how many follow. Read next: train/problem.py.
"""

from __future__ import annotations

import os
import warnings

import numpy as np

from .digits import digits
from .files import DataError
from .mnist import mnist

Pair = tuple[np.ndarray, np.ndarray]
PARTS = ("train", "validation", "test")
SIZE, VOID = 48, 255
INK = 96  # grey from which a pixel is the digit's; under it, down to 1, it is the rim
DIGITS, TRIES = 3, 12  # at most, in a scene; places tried for each, until it touches no other
WARNED = ("MNIST is not on this machine, so the scenes are made of the package's own digits of 8x8, twice enlarged; "
          "`tinyconv train --data mnist` downloads it")


def scenes(part: str = "train", count: int = 4000, seed: int = 0, root: str | os.PathLike[str] | None = None) -> Pair:
    """Scenes of 1 to 3 digits: images (count, 1, 48, 48) uint8, 255 is ink, and labels (count, 48, 48) int64.

    Args: part, train, validation or test; root, where MNIST lies, as in `mnist` (nothing is downloaded).
    Raises: ValueError for another part or a count below 1, DataError for files of MNIST that are damaged.

    >>> images, labels = scenes("test", 2)
    >>> images.shape, labels.shape, labels.dtype
    ((2, 1, 48, 48), (2, 48, 48), dtype('int64'))
    """
    if part not in PARTS:
        raise ValueError(f"scenes are of the part {', '.join(PARTS)}, got {part!r}")
    if count < 1:
        raise ValueError(f"scenes of count={count}: it must be at least 1")
    stamps, classes = _stamps(part, root)
    images, labels = np.zeros((count, 1, SIZE, SIZE), np.uint8), np.zeros((count, SIZE, SIZE), np.int64)
    for n in range(count):  # a stream for each scene
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(PARTS.index(part), n))))
        chosen = rng.integers(len(stamps), size=rng.integers(1, DIGITS + 1))
        images[n, 0], labels[n] = _scene(stamps[chosen], classes[chosen], rng)
    return images, labels


def digits_of(part: str, root: str | os.PathLike[str] | None = None) -> tuple[np.ndarray, bool]:
    """Which digits a part draws from: their indices in the training set, or in the test set, and whether it is the former.

    Five of six training digits are learnt from, the last sixth is for validation.
    """
    total = len(_source(part != "test", root)[1])
    cut = total * 5 // 6
    return {"train": np.arange(cut), "validation": np.arange(cut, total), "test": np.arange(total)}[part], part != "test"


def _stamps(part: str, root: str | os.PathLike[str] | None) -> Pair:
    rows, train = digits_of(part, root)
    images, labels = _source(train, root)
    return images[rows], labels[rows]


def _source(train: bool, root: str | os.PathLike[str] | None) -> Pair:
    """Digits (N, h, w) uint8, 255 is ink, and their labels (N,)."""
    try:
        images, labels = mnist(root, train, download=False)
        return images[:, 0], labels
    except DataError as error:
        if "there is no" not in str(error):
            raise
    warnings.warn(WARNED, stacklevel=4)
    images, labels = digits(train)
    large = images[:, 0].repeat(2, 1).repeat(2, 2).astype(np.uint16) * 255 // 16
    return large.astype(np.uint8), labels


def _scene(stamps: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> Pair:
    """One scene: clutter, and on it each stamp (h, w) at the first place drawn where it touches no other; the first is sure."""
    ink, label = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    for stamp, digit in zip(stamps, classes):
        rows, cols = np.flatnonzero(stamp.any(1)), np.flatnonzero(stamp.any(0))
        tight = stamp[rows[0]:rows[-1] + 1, cols[0]:cols[-1] + 1]
        h, w = tight.shape
        for y, x in zip(rng.integers(SIZE - h + 1, size=TRIES), rng.integers(SIZE - w + 1, size=TRIES)):
            there = slice(y, y + h), slice(x, x + w)
            if not ink[there][tight > 0].any():
                ink[there] |= tight
                label[there][tight > 0] = VOID
                label[there][tight >= INK] = 1 + digit
                break
    return np.maximum(ink, _clutter(rng)), label


def _clutter(rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE) uint8: a slope of grey, noise, and a few straight strokes as thin as a digit's and half as dark."""
    at = np.arange(SIZE)
    slope = rng.uniform(-0.6, 0.6, 2)
    grey = 30 + slope[0] * (at[:, None] - SIZE / 2) + slope[1] * (at - SIZE / 2) + rng.normal(0, 12, (SIZE, SIZE))
    for _ in range(rng.integers(2, 6)):
        (y, x), angle, length = rng.uniform(0, SIZE, 2), rng.uniform(0, np.pi), rng.uniform(6, 20)
        dy, dx = at[:, None] - y, at - x
        along, across = dy * np.sin(angle) + dx * np.cos(angle), dy * np.cos(angle) - dx * np.sin(angle)
        grey[(abs(along) < length / 2) & (abs(across) < 1.2)] += rng.uniform(40, 110)
    return np.clip(grey, 0, 255).astype(np.uint8)
