"""The training loop: a batch forward, the loss, a pass backward, a step downhill; and again.

    model = build("digits", (1, 8, 8), 10)
    training = fit(model, load(config), config)

`Training` holds everything that changes on the way, so that its state is all a checkpoint needs: a run that goes on from
one ends bit for bit like the run that was never stopped. Read next: run.py, the folder that a run leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Protocol

import numpy as np

from ..data import Loader
from ..device import to_host
from ..nn import Module
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor, from_numpy
from .blame import blame
from .config import Config, TrainError
from .objective import OBJECTIVES
from .optimise import make_optimiser, make_schedule
from .problem import Data, task_of, training_transform
from .recorded import Recorded
from .score import device_of_model

LOOK = 50  # steps on a GPU between two looks at the loss: one that is no number is then noticed, if late


@dataclass(frozen=True, slots=True)
class Epoch:
    """A line of the metrics. loss and accuracy, as objective.py has them: over the batches as they were learnt from."""

    epoch: int
    lr: float
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """What makes an epoch better than another: validation accuracy, then validation loss."""
        return self.validation_accuracy, -self.validation_loss


@dataclass(slots=True)
class Tally:
    """Sums over the samples of the epoch that is under way; loss and right may be arrays on a GPU."""

    samples: int = 0
    loss: Any = 0.0
    right: Any = 0  # of `judged`: images, or what else the objective counts, class by class where it is an array
    judged: Any = 0
    seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """The share that was right, 0 to 1; of several classes the mean over those that occurred."""
        right, judged = np.asarray(_settled(self.right)), np.asarray(_settled(self.judged))
        return float((right[judged > 0] / judged[judged > 0]).mean())

    def add(self, loss: Any, samples: int, right: tuple[Any, Any], seconds: float) -> None:
        """Count one batch in: its mean loss, and how much of how much was right. What is on a GPU is added up there."""
        self.samples += samples
        self.loss = self.loss + loss * samples
        self.right = self.right + right[0]
        self.judged = self.judged + right[1]
        self.seconds += seconds

    def settle(self) -> None:
        """Have the sums as numbers; for those on a GPU, wait."""
        began = time.perf_counter()
        self.loss, self.right, self.judged = float(self.loss), _settled(self.right), _settled(self.judged)
        self.seconds += time.perf_counter() - began


def _settled(total: Any) -> Any:
    """A sum on the host: a float, or an array of them."""
    return float(total) if np.ndim(total) == 0 else to_host(total).astype(np.float64)


class Watch:
    """What may be told of a run while it goes. This one does nothing; the command line draws."""

    def begin(self, training: Training) -> None:
        """Before the first batch."""

    def step(self, training: Training) -> None:
        """After every batch."""

    def epoch(self, training: Training) -> None:
        """After every epoch, when its line is in the history."""


class Store(Protocol):
    """Where a run is kept: see run.Run."""

    def restore(self, training: Training) -> None: ...
    def save(self, training: Training) -> None: ...


class Diverged(TrainError):
    """A loss that is no longer a finite number. Args: what happened, why (where that is known), what to try."""

    def __init__(self, what: str, todo: str, why: str = ""):
        super().__init__(f"{what}: {why}; {todo}" if why else f"{what}: {todo}")
        self.what, self.todo = what, todo


class Training:
    """A model on its way: optimiser, schedule, loader, random state, the epochs done and the tally of the one begun."""

    def __init__(self, model: Module, data: Data, config: Config):
        self.model, self.data, self.config = model, data, config
        model.train()
        self.objective = OBJECTIVES[task_of(config)]
        self.device = device_of_model(model)
        self.forward_backward = Recorded(self._forward_backward, model.parameters()) if config.graph else \
            self._forward_backward
        # scaling a batch of 10 takes 40 us, to have a thread do it 220 us of a step: they take turns at the interpreter
        self.loader = Loader(*data.train, batch_size=config.batch_size, shuffle=True, seed=config.seed,
                             transform=training_transform(data.problem, config), prefetch=2 * (config.augment != "none"))
        self.optimiser = make_optimiser(model, config)
        self.schedule = make_schedule(self.optimiser, config, len(self.loader))
        self.history: list[Epoch] = []
        self.tally = Tally()

    @property
    def done(self) -> bool:
        """Whether every epoch has been trained, or `patience` of them in a row were none of them the best."""
        patient = not self.config.patience or not self.history or len(self.history) - self.best.epoch < self.config.patience
        return len(self.history) >= self.config.epochs or not patient

    @property
    def best(self) -> Epoch:
        """The epoch that did best on the validation samples, the first of equals."""
        return max(self.history, key=lambda e: e.rank)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def step(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Learn from one batch: images (N, C, H, W) float32, labels (N,) int64, or of each pixel."""
        began = time.perf_counter()
        if self.device != "cpu":
            return self._step_on_gpu(images, labels, began)
        loss, logits = self.lose(images, labels)
        value = float(loss.item())
        self._check(value)  # before it reaches the weights
        loss.backward()
        self.move()
        right = self.objective.right(logits.numpy(), images, labels)
        self.tally.add(value, len(labels), right, time.perf_counter() - began)

    def lose(self, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and its logits; gradients of before are gone."""
        return self._lose(from_numpy(images).to(self.device), from_numpy(labels).to(self.device))

    def _lose(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        if not self.model.training:  # who evaluates it in between switches all of it
            self.model.train()
        self.optimiser.zero_grad()
        logits = self.model(x)
        return self.objective.loss(logits, x, t, self.config.label_smoothing), logits

    def _forward_backward(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the logits of a batch, the gradients left in the parameters."""
        loss, logits = self._lose(x, t)
        loss.backward()
        return loss, logits

    def _step_on_gpu(self, images: np.ndarray, labels: np.ndarray, began: float) -> None:
        """The same without waiting: the loss is looked at now and then, and the sums stay there."""
        x, t = from_numpy(images).to(self.device), from_numpy(labels).to(self.device)
        loss, logits = self.forward_backward(x, t)
        if self.tally.samples // self.config.batch_size % LOOK == LOOK - 1:
            self._check(float(self.tally.loss))
        self.move()
        right = self.objective.right(logits.detach().data, x.data, t.data)
        self.tally.add(loss.detach().data.astype(np.float64), len(labels), right, time.perf_counter() - began)

    def _check(self, loss: float) -> None:
        if not isfinite(loss):
            raise Diverged(f"the loss became {loss} in epoch {len(self.history) + 1} at a learning rate of {self.lr:g}",
                           f"try a smaller one (--lr {self.config.lr / 10:g})")

    def move(self) -> None:
        """A step downhill along the gradients that are there."""
        self.optimiser.step()
        self.schedule.step()

    def close_epoch(self) -> None:
        """Measure the validation samples, and turn the tally into a line of the history."""
        self.tally.settle()
        self._check(self.tally.loss)
        score = self.objective.score(self.model, self.data.validation, self.data.problem.transform)
        t, n = self.tally, self.tally.samples
        self.history.append(Epoch(len(self.history) + 1, self.lr, t.loss / n, t.accuracy, score.loss, score.accuracy,
                                  t.seconds))
        self.tally = Tally()

    def state_dict(self) -> dict[str, Any]:
        """All that changes, as nested dicts and lists of arrays, numbers and strings."""
        self.tally.settle()
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(), "loader": self.loader.state_dict(), "random": get_rng_state(),
                "tally": asdict(self.tally), "history": [asdict(e) for e in self.history]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, in the middle of an epoch too."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.loader.load_state_dict(state["loader"])
        set_rng_state(state["random"])
        self.tally = Tally(**state["tally"])
        self.history = [Epoch(**line) for line in state["history"]]


def fit(model: Module, data: Data, config: Config, *, store: Store | None = None, watch: Watch | None = None,
        stop: Callable[[], bool] = lambda: False) -> Training:
    """Train `model` on `data.train` for `config.epochs`, validating after each.

    store: goes on from what it holds, and is saved to after every epoch. watch: is told after every batch and epoch.
    stop: asked after every batch; where it says True, the run is saved as it stands and given back unfinished.
    Raises: TrainError where the loss is no longer a number, with the first operation that made it so, for which the epoch is
    trained once more; what was saved before stays.
    """
    training = Training(model, data, config)
    if store is not None:
        store.restore(training)
    watch = watch or Watch()
    watch.begin(training)
    stopped = False
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the loss will tell
        while not (training.done or stopped):
            before = deepcopy(training.state_dict())
            try:
                stopped = _epoch(training, watch, stop)
            except Diverged as error:
                raise Diverged(error.what, error.todo, blame(training, before)) from None
            if not stopped:
                training.close_epoch()
                watch.epoch(training)
            if store is not None:
                store.save(training)
    return training


def _epoch(training: Training, watch: Watch, stop: Callable[[], bool]) -> bool:
    """Learn from every batch of an epoch that is still to come; True where it was stopped."""
    for images, labels in training.loader:
        training.step(images, labels)
        watch.step(training)
        if stop():
            return True
    return False
