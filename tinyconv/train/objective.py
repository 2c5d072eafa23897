"""What a network is trained for, by its task: the loss that falls, and the accuracy, 0 to 1, that it is judged by.

    classify      cross entropy of a class for each image             accuracy: images read right
    segment       cross entropy of a class for each pixel             accuracy: mean IoU; void pixels never count
    reconstruct   mean squared error to the image itself              accuracy: the share of the variance that is explained

The best epoch is the one of the best accuracy. Read next: loop.py, which follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.scenes import VOID
from ..device import like
from ..nn import Module
from ..nn.functional import cross_entropy, mse_loss
from ..tensor import Tensor, from_numpy
from .problem import Pair, Transform
from .score import Score, evaluate, forward


@dataclass(frozen=True, slots=True, eq=False)
class PixelScore(Score):
    """confusion (classes, classes): pixels of the true class (row) that were given the class (column), void ones left out.

    wrong: indices of the images with a pixel that was misread.
    """

    confusion: np.ndarray

    @property
    def accuracy(self) -> float:
        """Mean IoU: over the classes, the mean of what the prediction and the truth share of what either claims."""
        return mean_iou(self.confusion)

    @property
    def pixels(self) -> float:
        """The share of the pixels that was read right."""
        return pixel_accuracy(self.confusion)


@dataclass(frozen=True, slots=True, eq=False)
class ImageScore(Score):
    """explained: 1 - squared error / squared distance from the mean image. wrong: none, nothing is read."""

    explained: float

    @property
    def accuracy(self) -> float:
        return self.explained


class Classify:
    """A class of each image: labels (N,). How loss, accuracy and what it lacks are called: in words, short and long."""

    loss_is = "cross entropy"
    accuracy_is = "accuracy"
    lacking = "misread, %"

    def told(self, accuracy: float) -> str:
        """The accuracy as it is printed."""
        return f"{100 * accuracy:.2f} %"

    def loss(self, y: Tensor, x: Tensor, t: Tensor, smoothing: float) -> Tensor:
        """Of the output y for the images x, as the network saw them, and their labels."""
        return cross_entropy(y, t, label_smoothing=smoothing)

    def right(self, y: Any, x: Any, t: Any) -> tuple[Any, Any]:
        """How much of a batch is right, and of how much, class by class where that is judged; on a GPU they stay there."""
        return (y.argmax(1) == t).sum(), len(t)

    def score(self, model: Module, samples: Pair, transform: Transform) -> Score:
        """How a model does on samples that it does not learn from."""
        return evaluate(model, samples, transform)


class Segment(Classify):
    """A class of each pixel: logits (N, classes, H, W), labels (N, H, W) with VOID where neither class is right."""

    accuracy_is = "mean IoU"
    lacking = "1 - mean IoU, %"

    def told(self, accuracy: float) -> str:
        return f"{accuracy:.3f}"

    def loss(self, y: Tensor, x: Tensor, t: Tensor, smoothing: float) -> Tensor:
        return cross_entropy(y, t, ignore_index=VOID, label_smoothing=smoothing)

    def right(self, y: Any, x: Any, t: Any) -> tuple[Any, Any]:
        each = like(y, np.arange(y.shape[1]).reshape(-1, 1, 1, 1))  # (classes, 1, 1, 1) against (N, H, W)
        true, given = t == each, (y.argmax(1) == each) & (t != VOID)
        both = (true & given).sum((1, 2, 3))
        return both, true.sum((1, 2, 3)) + given.sum((1, 2, 3)) - both

    def score(self, model: Module, samples: Pair, transform: Transform) -> PixelScore:
        images, labels = samples
        logits = forward(model, images, transform)
        found = logits.argmax(1)
        missed = ((found != labels) & (labels != VOID)).any((1, 2))
        y = from_numpy(logits)
        loss = float(self.loss(y, y, from_numpy(labels), 0.0).item())
        return PixelScore(loss, np.flatnonzero(missed), len(labels), confusion(labels, found, logits.shape[1]))


class Reconstruct(Classify):
    """The image itself, as it was put in: y (N, C, H, W); labels play no part."""

    loss_is = "squared error"
    accuracy_is = "explained"
    lacking = "variance not explained, %"

    def loss(self, y: Tensor, x: Tensor, t: Tensor, smoothing: float) -> Tensor:
        return mse_loss(y, x)

    def right(self, y: Any, x: Any, t: Any) -> tuple[Any, Any]:
        spread = ((x - x.mean(0)) ** 2).sum()
        return spread - ((y - x) ** 2).sum(), spread

    def score(self, model: Module, samples: Pair, transform: Transform) -> ImageScore:
        images = transform(samples[0], np.random.default_rng(0))
        y = forward(model, samples[0], transform)
        near, spread = (float(part) for part in self.right(y, images, samples[1]))
        return ImageScore((spread - near) / images.size, np.zeros(0, np.int64), len(images), near / spread)


OBJECTIVES: dict[str, Classify] = {"classify": Classify(), "segment": Segment(), "reconstruct": Reconstruct()}


def confusion(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes) int64: how often the true class (row) was given the class (column).

    truth, found: integers of one shape, below `classes`; where the truth is VOID nothing is counted.

    >>> confusion(np.array([0, 0, 1, 255]), np.array([0, 1, 1, 0]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counted = truth != VOID
    pairs = truth[counted].astype(np.int64) * classes + found[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, (classes,): n_cc / (true c + given c - n_cc); NaN for a class never seen or given.

    Source: J. Long, E. Shelhamer, T. Darrell, "Fully convolutional networks for semantic segmentation" (2015), section 5.

    >>> iou(np.array([[1, 1], [0, 1]])).tolist()
    [0.5, 0.5]
    """
    both = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1) - both
    return np.where(either, both / np.maximum(either, 1), np.nan)


def mean_iou(confusion: np.ndarray) -> float:
    """The mean of `iou` over the classes that occur."""
    return float(np.nanmean(iou(confusion)))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """The share of the pixels that were given their true class."""
    return float(np.trace(confusion) / confusion.sum())
