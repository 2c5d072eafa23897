"""A trained network at work: how good it is on labelled images, and what it makes of new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..nn import Module
from ..nn.functional import cross_entropy
from ..tensor import from_numpy, no_grad
from .problem import Pair, Transform

BATCH = 500  # samples at a time: enough to keep the cores busy, too few to fill the memory


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
    """Logits (N, classes) of images (N, C, H, W), nothing recorded; the mode of the model is left as it was."""
    rng = np.random.default_rng(0)  # for the transform, which here draws nothing
    mode, where = model.training, device_of_model(model)
    model.eval()
    try:
        with no_grad():
            logits = [model(from_numpy(transform(images[at:at + BATCH], rng)).to(where)) for at in range(0, len(images), BATCH)]
            return np.concatenate([t.cpu().numpy() for t in logits])
    finally:
        model.train(mode)
