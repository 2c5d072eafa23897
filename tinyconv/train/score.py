"""A trained network at work: how good it is on labelled images, and what it makes of new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..device import kind_named
from ..nn import Module
from ..nn.functional import cross_entropy
from ..tensor import from_numpy, no_grad
from .problem import Pair, Transform

# samples at a time: few enough for the cores that what a layer makes of them stays in their caches (500 MNIST images at a
# time take half as long again), enough to keep a GPU busy
BATCH = {"cpu": 100, "cuda": 500}
PIXELS = 500 * 784  # of larger images fewer


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """loss: mean cross entropy. wrong: indices of the samples that were misread. count: how many there were."""

    loss: float
    wrong: np.ndarray
    count: int

    @property
    def accuracy(self) -> float:
        """The share that was read right, 0 to 1."""
        return 1 - len(self.wrong) / self.count


def device_of_model(model: Module) -> str:
    """Where its parameters live; a model of none is at home on the host."""
    return next((p.device for p in model.parameters()), "cpu")


def evaluate(model: Module, samples: Pair, transform: Transform) -> Score:
    """How `model` does on images (N, C, H, W) and labels (N,), its dropout and batch norm set to evaluation."""
    images, labels = samples
    logits = forward(model, images, transform)
    loss = float(cross_entropy(from_numpy(logits), labels).item())
    return Score(loss, np.flatnonzero(logits.argmax(1) != labels), len(labels))


def predict(model: Module, images: np.ndarray, transform: Transform) -> np.ndarray:
    """The probability of each class for images (N, C, H, W): an array (N, classes) whose rows sum to 1."""
    return from_numpy(forward(model, images, transform)).softmax(1).numpy()


def vote(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """What several networks read together: of each sample the class that most of them name, as labels (N,).

    Where classes are named as often, the one of the larger mean probability. probabilities: an array (N, classes) for each.

    >>> vote([np.array([[0.6, 0.4]]), np.array([[0.6, 0.4]]), np.array([[0.0, 1.0]])])
    array([0])
    """
    p = np.stack(probabilities).astype(float)  # (networks, N, classes)
    named = np.eye(p.shape[2])[p.argmax(2)].sum(0)  # (N, classes): how often
    return (named + p.mean(0) / 2).argmax(1)  # half a mean is less than a vote


def forward(model: Module, images: np.ndarray, transform: Transform) -> np.ndarray:
    """The output, such as logits (N, classes), for images (N, C, H, W), nothing recorded; the model's mode stays."""
    rng = np.random.default_rng(0)  # for the transform, which here draws nothing
    mode, where = model.training, device_of_model(model)
    batch = max(1, min(BATCH[kind_named(where)], PIXELS // prod(images.shape[2:])))
    model.eval()
    try:
        with no_grad():
            out = [model(from_numpy(transform(images[at:at + batch], rng)).to(where)) for at in range(0, len(images), batch)]
            return np.concatenate([t.cpu().numpy() for t in out])
    finally:
        model.train(mode)
