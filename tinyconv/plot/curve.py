"""The learning curve: loss and error of a run, epoch by epoch, on what it learns from and on what it does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from .figure import BLUE, INK, ORANGE, new_figure, quiet_axes, write_figure

TICKS = (0, 1, 2, 5, 10, 20, 50, 100)  # percent


class Line(Protocol):
    """What is drawn of an epoch; train.Epoch has it."""

    @property
    def epoch(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def accuracy(self) -> float: ...
    @property
    def validation_loss(self) -> float: ...
    @property
    def validation_accuracy(self) -> float: ...


def learning_curve(history: Sequence[Line], path: str | Path, title: str = "", loss: str = "cross entropy",
                   lacking: str = "misread, %") -> None:
    """Draw loss and error rate over the epochs, for the training batches and the validation samples.

    loss: what the loss is. lacking: what 1 - accuracy is, in percent.

    Raises: ValueError for an empty history, PlotError where matplotlib is not installed, DataError where `path` cannot
    be written.
    """
    if not history:
        raise ValueError("a learning curve wants at least one epoch, the history is empty")
    figure = new_figure(8, 3.6)
    left, right = figure.subplots(1, 2)
    epochs = [e.epoch for e in history]
    _panel(left, f"loss ({loss})", epochs, [e.loss for e in history], [e.validation_loss for e in history])
    _panel(right, lacking, epochs, [100 * (1 - e.accuracy) for e in history],
           [100 * (1 - e.validation_accuracy) for e in history])
    right.set_yscale("symlog", linthresh=1, linscale=0.5)  # the last percent is what takes the time; 0 has its place too
    rates = [100 * (1 - a) for e in history for a in (e.accuracy, e.validation_accuracy)]
    ticks = [t for t in TICKS if t <= min(rates)][-1:] + [t for t in TICKS if min(rates) < t <= max(rates)]
    ticks += [t for t in TICKS if t > max(rates)][:1]
    right.set_yticks(ticks, [str(t) for t in ticks])
    right.set_ylim(ticks[0], ticks[-1])
    right.minorticks_off()
    left.legend(frameon=False, fontsize=9, labelcolor=INK)
    if title:
        figure.suptitle(title, fontsize=11, color=INK)
    write_figure(figure, path)


def _panel(axes: Any, what: str, epochs: list[int], train: list[float], validation: list[float]) -> None:
    quiet_axes(axes)
    marker = "o" if len(epochs) <= 30 else ""
    axes.plot(epochs, train, color=BLUE, marker=marker, markersize=3, label="training, as it learns")
    axes.plot(epochs, validation, color=ORANGE, marker=marker, markersize=3, linestyle="--", label="validation")
    axes.set_title(what, fontsize=10, loc="left", color=INK)
    axes.set_xlabel("epoch", fontsize=9, color=INK)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # else a single epoch would be between 0.96 and 1.04
    axes.set_ylim(bottom=0)
    axes.margins(x=0.03)
