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
MOMENTUM = 0.9
STILL = 1e-7  # a rate so small that thousands of timed steps on one batch change nothing
MOVING = 0.02  # a rate that makes each of the first steps count

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


def batch(task: Task, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """The images of the task's batch, and what they should give: labels, or for an autoencoder the images again."""
    name, _, count = task.case.partition("@")
    x = task.rng.standard_normal((int(count), *INPUTS[name]), np.float32).astype(dtype)
    return x, x if name == "autoencoder" else task.rng.integers(0, 10, int(count))


def weights(task: Task, shapes: dict[str, tuple[int, ...]], dtype: str) -> dict[str, np.ndarray]:
    """First values of the parameters with these names: normal weights scaled by their fan-in, zero biases."""
    rng = task.rng
    drawn = {}
    for key, shape in shapes.items():
        if key.endswith("weight") and len(shape) > 1:
            drawn[key] = (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(dtype)
        elif key.endswith("bias"):
            drawn[key] = np.zeros(shape, dtype)
    return drawn


def work(task: Task) -> dict[str, int]:
    """The flops of a step by the direct sums: two for each multiply-add of a layer forward, as many for the gradient of its
    weights and as many for that of its input, but for the images, whose gradient nobody asks for."""
    from .. import nn
    from ..nn.summary import summary

    name, _, count = task.case.partition("@")
    macs = [row.macs for row in summary(network(nn, name), INPUTS[name]).rows if row.macs]
    return {"flops": 2 * int(count) * (3 * sum(macs) - macs[0])}


def _step(task: Task, nn: Any, optim: Any, wrap: Callable, dtype: str, lr: float) -> Callable[[], Any]:
    """One training step on the task's batch, a function that returns its loss as a tensor of the library."""
    name = task.case.partition("@")[0]
    net = network(nn, name)
    if dtype == "float64":
        net.double()
    state = net.state_dict()
    drawn = weights(task, {key: tuple(value.shape) for key, value in state.items()}, dtype)
    net.load_state_dict({**state, **{key: wrap(value) for key, value in drawn.items()}})
    images, target = map(wrap, batch(task, dtype))
    optimiser = optim.SGD(net.parameters(), lr=lr, momentum=MOMENTUM)
    loss_of = nn.functional.mse_loss if name == "autoencoder" else nn.functional.cross_entropy

    def step() -> Any:
        optimiser.zero_grad()
        loss = loss_of(net(images), target)
        loss.backward()
        optimiser.step()
        return loss

    return step


def build_step(task: Task, nn: Any, optim: Any, wrap: Callable) -> Callable[[], Any]:
    """A training step to be timed."""
    return _step(task, nn, optim, wrap, task.dtype, STILL)


def first_losses(task: Task, nn: Any, optim: Any, wrap: Callable, dtype: str) -> np.ndarray:
    """The losses of the first steps, to be judged."""
    step = _step(task, nn, optim, wrap, dtype, MOVING)
    return np.array([float(step().item()) for _ in range(LOSSES)])
