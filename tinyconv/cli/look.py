"""`tinyconv evaluate` and `tinyconv predict`: what a trained network is worth, and what it makes of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..models import TASKS
from ..nn import Module
from ..train import (
    OBJECTIVES,
    ImageScore,
    PixelScore,
    Problem,
    Run,
    Score,
    TrainError,
    iou,
    load,
    on_device,
    task_of,
    use_threads,
    vote,
)
from ..train import predict as read
from ..train.picture import read_picture
from .screen import console
from .stderr import note

SHADES = " ░▒▓█"
BAR = 30  # columns
WIDE = 32


def evaluate(paths: list[Path], best: bool, data_dir: Path | None, device: str = "cpu") -> None:
    """Accuracy on the held-out part, overall and class by class; of several runs each one's, and that of their vote.

    Raises: TrainError for runs of different data sets, the same run twice, or a vote of networks that do not classify.
    """
    runs, out = [Run.open(path) for path in paths], console()
    one_problem(runs)
    first = runs[0]
    use_threads(first.config.threads)
    images, labels = load(first.config, data_dir).test
    models = [network(run, best, device) for run in runs]
    if len(runs) == 1:
        score = OBJECTIVES[task_of(first.config)].score(models[0], (images, labels), first.problem.transform)
        if isinstance(score, PixelScore | ImageScore):
            name, figure, words = told(score)
            out.print(f"{name} [bold]{figure}[/] on the held-out part of {first.config.data}, by {first.config.model} "
                      f"({words})\n")
            if isinstance(score, PixelScore):
                _classes(out, first.problem, iou(score.confusion))
            return
        misread, who, loss = score.wrong, first.config.model, f", loss {score.loss:.4f}"
    else:
        votes = [read(model, images, first.problem.transform) for model in models]
        for path, p in zip(paths, votes):
            out.print(f"{100 * (p.argmax(1) == labels).mean():6.2f} %  {path}", markup=False, soft_wrap=True)
        out.print()
        misread, who, loss = np.flatnonzero(vote(votes) != labels), f"a vote of {len(runs)}", ""
    out.print(f"[bold]{100 * (1 - len(misread) / len(labels)):.2f} %[/] of {len(labels):,} held-out images of "
              f"{first.config.data} read right by {who}\n{len(misread):,} misread{loss}\n")
    out.print(_by_class(labels, misread, first.problem))


def network(run: Run, best: bool, device: str) -> Module:
    """The trained model of a run on a device, with a line where it has hardly been trained."""
    model = on_device(run.model(best), device)
    if run.raw:
        note(f"{run.path} was stopped before the end of its first epoch, so it has learnt little or nothing; go on with: "
             f"tinyconv train --resume {run.path}")
    return model


def one_problem(runs: list[Run]) -> None:
    """Raises: TrainError for runs of different data sets, or the same run twice."""
    for run in runs * (len(runs) > 1):
        if run.config.data != runs[0].config.data:
            raise TrainError(f"only runs of one data set vote together: {runs[0].path} read {runs[0].config.data}, {run.path} "
                             f"{run.config.data}")
        if (task := task_of(run.config)) != "classify":
            raise TrainError(f"only networks that classify vote: {run.path} gives {TASKS[task]}")
    folders = [run.path.resolve() for run in runs]
    for run, folder in zip(runs, folders):
        if folders.count(folder) > 1:
            raise TrainError(f"{run.path} is named twice: a run has one vote")


def _by_class(labels: np.ndarray, misread: np.ndarray, problem: Problem) -> Table:
    """A bar for each class: the share of it that was read right."""
    wrong = labels[misread]
    table = Table.grid(padding=(0, 2))
    for number, name in enumerate(problem.classes):
        count, missed = int((labels == number).sum()), int((wrong == number).sum())
        share = 1 - missed / count
        table.add_row(name, bar(share), f"{100 * share:6.2f} %", f"{missed:,} of {count:,} misread" if missed else "")
    return table


def _classes(out: Console, problem: Problem, shares: np.ndarray) -> None:
    table = Table.grid(padding=(0, 2))
    for name, share in zip(problem.classes, shares):
        table.add_row(name, *(("", "in no scene") if np.isnan(share) else (bar(float(share)), f"IoU {share:.3f}")))
    out.print(table)


def told(score: Score) -> tuple[str, str, str]:
    """The figure that a network is judged by: its name, itself and more words about it."""
    if isinstance(score, PixelScore):
        return "mean IoU", f"{score.accuracy:.3f}", f"{100 * score.pixels:.2f} % of the pixels of {score.count:,} scenes"
    if isinstance(score, ImageScore):
        return "variance explained", f"{100 * score.accuracy:.2f} %", f"squared error {score.loss:.4f} a pixel"
    return "accuracy", f"{100 * score.accuracy:.2f} %", f"{len(score.wrong):,} of {score.count:,} misread"


def predict(path: Path, pictures: list[Path], best: bool, device: str = "cpu") -> None:
    """The class of each picture, with the picture as the network sees it and the probabilities as bars."""
    run = Run.open(path)
    if task_of(run.config) != "classify":
        raise TrainError(f"{path} holds a network that gives {TASKS[task_of(run.config)]}: predict takes one that reads images")
    model, out = network(run, best, device), console()
    use_threads(run.config.threads)
    images = np.concatenate([read_picture(picture, run.problem) for picture in pictures])
    for picture, image, p in zip(pictures, images, read(model, images, run.problem.transform)):
        out.print(f"{picture}: [bold]{run.problem.classes[p.argmax()]}[/] ({100 * p.max():.1f} %)", soft_wrap=True)
        _show(out, image, p, run.problem)


def _show(out: Console, image: np.ndarray, p: np.ndarray, problem: Problem) -> None:
    bars = Table.grid(padding=(0, 2))
    for name, share in zip(problem.classes, p):
        bars.add_row(name, bar(float(share)), f"{100 * share:5.1f} %", style="bold" if share == p.max() else "")
    side = Table.grid(padding=(0, 3))
    side.add_row(Text(drawing(image[0], problem.scale)), bars)
    out.print(side)


def bar(share: float) -> str:
    """A share from 0 to 1 as a bar of at most BAR columns."""
    return "█" * round(BAR * share)


def drawing(image: np.ndarray, scale: int) -> str:
    """An image (H, W) as text of at most WIDE columns. A character is twice as high as wide: it is half a pixel, or two."""
    H, W = image.shape
    if 2 * W <= WIDE:
        image = image.repeat(2, 1)
    else:
        image = image[:H // 2 * 2].reshape(H // 2, 2, W).mean(1)
    levels = image.astype(int) * len(SHADES) // (scale + 1)
    return "\n".join("".join(SHADES[v] for v in row) for row in levels)
