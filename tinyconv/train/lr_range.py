"""The learning-rate range test: the rate grows step by step, and the loss tells from which on it learns, and when it breaks.

    found = lr_range(new_model(config), load(config), config)
    found.steepest                             # to begin with, as the highest rate of a schedule

Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3; rates here grow by a constant factor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from ..nn import Module
from ..optim import LambdaLR
from .config import Config, TrainError
from .loop import Training
from .problem import Data

MEMORY = 0.95  # of the running mean of the losses, by which the test ends
BROKEN = 4  # times its least: there it does
WARM = 10  # steps before it may
NEAR = 5  # steps on either side that smooth a loss: no running mean, which would come late and call for too high a rate


@dataclass(frozen=True, slots=True, eq=False)
class LrRange:
    """rates, losses, smooth: (steps,), the loss of the batch before the step at that rate, and as it is in the mean."""

    rates: np.ndarray
    losses: np.ndarray
    smooth: np.ndarray

    @property
    def steepest(self) -> float | None:
        """The rate at which the smoothed loss falls fastest per factor, before its least; None where it never falls.

        The first losses, which few others smooth, are left out: what falls there is the luck of a batch.
        """
        first = min(2 * NEAR, len(self.rates) // 4)
        least = first + int(self.smooth[first:].argmin())
        if least < first + 2:
            return None
        slope = np.gradient(self.smooth, np.log(self.rates))[first:least + 1]
        return float(self.rates[first + slope.argmin()]) if slope.min() < 0 else None


def lr_range(model: Module, data: Data, config: Config, low: float = 1e-5, high: float = 10.0, steps: int = 200) -> LrRange:
    """Train `model` for up to `steps` batches, the rate growing from `low` to `high`; it ends early where the loss breaks.

    The optimiser, batches and augmentation are those of `config`, whose lr and schedule are not used. The model is left
    trained, and spoilt: take a new one. Raises: TrainError for rates or steps that make no sense.
    """
    if not 0 < low < high < float("inf"):
        raise TrainError(f"the range test wants rates with 0 < low < high, got {low:g} and {high:g}")
    if steps < WARM:
        raise TrainError(f"the range test wants at least {WARM} steps, got {steps}")
    training = Training(model, data, replace(config, lr=low, schedule="constant"))
    training.schedule = LambdaLR(training.optimiser, lambda t: (high / low) ** (t / (steps - 1)))
    rates: list[float] = []
    losses: list[float] = []
    mean, least = 0.0, float("inf")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the loss will tell
        while len(rates) < steps:
            for images, labels in training.loader:
                rate = training.lr
                loss = _step(training, images, labels)
                mean = MEMORY * mean + (1 - MEMORY) * loss
                now = mean / (1 - MEMORY ** (len(rates) + 1))  # the mean began at 0
                if not isfinite(loss) or (len(rates) > WARM and now > BROKEN * least):
                    return _range(rates, losses)
                least = min(least, now)
                rates.append(rate)
                losses.append(loss)
                if len(rates) == steps:
                    break
    return _range(rates, losses)


def _step(training: Training, images: np.ndarray, labels: np.ndarray) -> float:
    """Learn from one batch; its loss, nan where it is no finite number."""
    loss, _ = training.lose(images, labels)
    value = float(loss.item())
    if not isfinite(value):
        return float("nan")
    loss.backward()
    training.move()
    return value


def _range(rates: list[float], losses: list[float]) -> LrRange:
    if not rates:
        raise TrainError("the first loss already is no finite number: no learning rate mends that")
    return LrRange(np.array(rates), np.array(losses), centred(centred(np.array(losses))))


def centred(values: np.ndarray) -> np.ndarray:
    """The mean of each value and up to NEAR on either side, as many on the one as there are on the other.

    >>> centred(np.array([0.0, 3.0, 0.0]))
    array([0., 1., 0.])
    """
    n = len(values)
    reach = [min(NEAR, i, n - 1 - i) for i in range(n)]
    return np.array([values[i - r:i + r + 1].mean() for i, r in enumerate(reach)])
