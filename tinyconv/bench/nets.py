"""The networks whose training steps are timed, written once for both libraries: `nn` is torch.nn or tinyconv.nn.

A step is what a user's loop does: clear the gradients, forward, loss, backward, update. Weights and batches are drawn from
the task's own generator, so that both libraries start from the same numbers and must give the same losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .task import Task

TOLERANCE = 1e-4  # relative; a step in float32 is some 1e-6 off, a wrong gradient moves the loss by 1e-2 and more
LOSSES = 4  # steps whose losses are compared

INPUTS = {"mnist": (1, 28, 28), "lenet5": (1, 32, 32), "bnnet": (3, 32, 32), "autoencoder": (1, 28, 28)}
BATCHES = {"mnist": (10, 64, 256), "lenet5": (64,), "bnnet": (32,), "autoencoder": (64,)}


def network(nn: Any, name: str) -> Any:
    """The named network as a Sequential."""
    if name == "mnist":  # 20C5-P2-40C5-P2-100-10, of "Neural Networks and Deep Learning", chapter 6
        return nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 40, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(640, 100), nn.ReLU(), nn.Linear(100, 10))
    if name == "lenet5":
        return nn.Sequential(
            nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    if name == "bnnet":
        def block(i: int, o: int) -> list:
            return [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()]

        return nn.Sequential(
            *block(3, 32), *block(32, 32), nn.MaxPool2d(2), *block(32, 64), *block(64, 64), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * 8 * 8, 10))
    if name == "autoencoder":
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1))
    raise ValueError(f"no network {name!r}; there are: {', '.join(INPUTS)}")


def _ready(task: Task, nn: Any, optim: Any, wrap: Callable, dtype: str, lr: float) -> Callable[[], Any]:
    """One training step on the task's batch, a function that returns its loss as a tensor of the library."""
    name, _, batch = task.case.partition("@")
    rng = task.rng
    x = rng.standard_normal((int(batch), *INPUTS[name]), np.float32)
    labels = rng.integers(0, 10, int(batch))
    net = network(nn, name)
    net.train()
    state = {}
    for key, value in net.state_dict().items():
        if key.endswith("weight") and len(value.shape) > 1:
            fan_in = int(np.prod(value.shape[1:]))
            state[key] = wrap((rng.standard_normal(tuple(value.shape)) * fan_in**-0.5).astype(dtype))
        elif key.endswith("bias"):
            state[key] = wrap(np.zeros(tuple(value.shape), dtype))
        else:
            state[key] = value
    if dtype == "float64":
        net.double()
    net.load_state_dict(state)
    images, target = wrap(x.astype(dtype)), wrap(labels)
    optimiser = optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    functional = nn.functional

    def step() -> Any:
        optimiser.zero_grad()
        out = net(images)
        loss = functional.mse_loss(out, images) if name == "autoencoder" else functional.cross_entropy(out, target)
        loss.backward()
        optimiser.step()
        return loss

    return step


def build_step(task: Task, nn: Any, optim: Any, wrap: Callable) -> Callable[[], Any]:
    """A training step to be timed, at a rate so small that thousands of steps on one batch change nothing."""
    return _ready(task, nn, optim, wrap, task.dtype, lr=1e-7)


def first_losses(task: Task, nn: Any, optim: Any, wrap: Callable, dtype: str) -> np.ndarray:
    """The losses of the first steps, at a rate that makes each step count."""
    step = _ready(task, nn, optim, wrap, dtype, lr=0.02)
    return np.array([float(step().item()) for _ in range(LOSSES)])
