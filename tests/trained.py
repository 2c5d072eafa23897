"""What the tests of training share: a quick run's settings, and what they compare of two runs."""

from dataclasses import asdict

import numpy as np

from tinyconv.train import Training, configure

QUICK = configure(model="mlp", epochs=2, threads=0)


def weights(training: Training) -> np.ndarray:
    return np.concatenate([p.numpy().ravel() for p in training.model.parameters()])


def lines(training: Training) -> list[dict]:
    """The history without the seconds, the one thing that no seed decides."""
    return [{**asdict(e), "seconds": 0} for e in training.history]
