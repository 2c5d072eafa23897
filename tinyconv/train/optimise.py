"""The optimisers and schedules that a Config can name, with the options that it sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..nn import Module
from ..optim import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    Optimizer,
    RMSprop,
    SequentialLR,
)
from .config import Config, one_of

OPTIMISERS: dict[str, Callable[[list, Config], Optimizer]] = {
    "sgd": lambda p, c: SGD(p, c.lr, momentum=c.momentum, weight_decay=c.weight_decay, nesterov=c.momentum > 0),
    "adagrad": lambda p, c: Adagrad(p, c.lr, weight_decay=c.weight_decay),
    "rmsprop": lambda p, c: RMSprop(p, c.lr, momentum=c.momentum, weight_decay=c.weight_decay),
    "adam": lambda p, c: Adam(p, c.lr, weight_decay=c.weight_decay),
    "adamw": lambda p, c: AdamW(p, c.lr, weight_decay=c.weight_decay),
}

MOMENTUM = ("sgd", "rmsprop")  # those that read `momentum`

# of an optimiser, a Config and the number of steps n in the whole run: the rate is set before each of them
SCHEDULES: dict[str, Callable[[Optimizer, Config, int], LRScheduler]] = {
    "constant": lambda o, c, n: LambdaLR(o, lambda t: 1.0),
    "step": lambda o, c, n: MultiStepLR(o, [n // 2, n * 3 // 4]),  # a tenth from half way on, a hundredth in the last quarter
    "cosine": lambda o, c, n: CosineAnnealingLR(o, n),
    "warmup-cosine": lambda o, c, n: _warmup_cosine(o, n, max(1, n // 20)),
    # n + 1: it counts the rate after the last step too
    "one-cycle": lambda o, c, n: OneCycleLR(o, c.lr, n + 1, cycle_momentum=False),
}


def make_optimiser(model: Module, config: Config) -> Optimizer:
    """The optimiser of a run. Weights decay; vectors, which are biases and the scales of norms, do not.

    Raises: TrainError for a name that does not exist.
    """
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [{"params": [p for p in parameters if p.ndim > 1]},
              {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
    return OPTIMISERS[one_of("optimizer", config.optimizer, OPTIMISERS)]([g for g in groups if g["params"]], config)


def make_schedule(optimiser: Optimizer, config: Config, steps_per_epoch: int) -> LRScheduler:
    """The schedule of a run, stepped after every batch. Raises: TrainError for a name that does not exist."""
    return SCHEDULES[one_of("schedule", config.schedule, SCHEDULES)](optimiser, config, config.epochs * steps_per_epoch)


def _warmup_cosine(optimiser: Optimizer, n: int, warm: int) -> LRScheduler:
    up, down = LinearLR(optimiser, 1 / (warm + 1), 1.0, warm), CosineAnnealingLR(optimiser, max(1, n - warm))
    return SequentialLR(optimiser, [up, down], [warm])
