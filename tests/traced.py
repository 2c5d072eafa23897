"""The trace that the tests of traces look at."""

import numpy as np

import tinyconv as tc
from tinyconv import nn
from tinyconv.nn import functional as F


def traced_network():
    """A small network, forward and backward on one image, on record."""
    tc.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 4))
    x = tc.tensor(np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8))
    with tc.trace(model, image=x) as t:
        F.cross_entropy(model(x), tc.tensor([2])).backward()
    return t
