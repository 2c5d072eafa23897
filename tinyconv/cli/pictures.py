"""`tinyconv pictures` and `tinyconv lr-range`: what a trained network sees, and which learning rate to begin with, as PNGs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..data.scenes import VOID
from ..models import TASKS
from ..train import (
    OBJECTIVES,
    Problem,
    Run,
    TrainError,
    abridged,
    configure,
    confusion,
    layer_maps,
    load,
    lr_range,
    new_model,
    predict,
    read_config,
    saliency,
    task_of,
    use_threads,
    worst,
)
from ..train.picture import read_picture
from ..train.score import forward
from .look import network
from .screen import console

MISTAKES, SCENES = 24, 8
IMAGES = 10  # of which the saliency is drawn
ROWS = 20  # of layers.png


def pictures(path: Path, images: list[Path], best: bool, out: Path | None, data_dir: Path | None, device: str) -> None:
    """Draw confusion.png, mistakes.png, layers.png and saliency.png, and print their paths; of given images the last two.

    Where no class of an image is read, the saliency is left out, and where no class at all is, the confusion.
    Raises: TrainError for a run or an image that cannot be read, PlotError without matplotlib.
    """
    run, folder = Run.open(path), out or path
    use_threads(run.config.threads)
    model, problem, task = network(run, best, device), run.problem, task_of(run.config)
    given = np.concatenate([read_picture(image, problem) for image in images[:IMAGES]]) if images else None
    truth: list[int] = []  # of the images given, where it is known
    folder.mkdir(parents=True, exist_ok=True)
    if given is None:
        samples, labels = load(run.config, data_dir).test
        given = samples[:1]
        if task == "classify":
            _mistakes(run.name, predict(model, samples, problem.transform), samples, labels, problem, folder)
            first = [int((labels == n).argmax()) for n in range(len(problem.classes))][:IMAGES]
            given, truth = samples[first], labels[first].tolist()
        elif task == "segment":
            _worst_scenes(run, forward(model, samples, problem.transform).argmax(1), samples, labels, folder)
        else:
            _worst_made(run, forward(model, samples, problem.transform), samples, folder)
    if found := layer_maps(model, given[0], problem.transform):
        shown = abridged(found, ROWS)
        part = f", {len(shown)} of {len(found)}" if len(shown) < len(found) else ""
        with _told(folder / "layers.png") as picture:
            plot.layer_maps(given[0], shown, picture, f"{run.name}: the maps of its layers{part}")
    else:
        console().print(f"layers.png is not drawn: no layer of {run.config.model} makes maps")
    if task != "classify":
        console().print(f"saliency.png is not drawn: {run.config.model} gives {TASKS[task]}")
        return
    salient, read = saliency(model, given, problem.transform)
    captions = [f"read as {problem.classes[n]}" for n in read]
    for i, n in enumerate(truth):
        if n != read[i]:
            captions[i] = f"{problem.classes[n]}, {captions[i]}"
    with _told(folder / "saliency.png") as picture:
        plot.saliency_maps(given, salient, captions, picture,
                           f"{run.name}: the pixels that its answers hang on, and outlines of what it saw")


def _worst_scenes(run: Run, found: np.ndarray, images: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    """The confusion of the pixels, and the scenes that most of them are misread of, the truth and what was found."""
    wrong = (found != labels) & (labels != VOID)
    share = 100 * wrong.sum() / (labels != VOID).sum()
    with _told(folder / "confusion.png") as path:
        plot.confusion_matrix(confusion(labels, found, len(run.problem.classes)), run.problem.classes, path,
                              f"{run.name}: {share:.2f} % of the pixels of {len(images):,} scenes misread")
    chosen = wrong.sum((1, 2)).argsort(kind="stable")[::-1][:SCENES]
    seen = run.problem.transform(images[chosen], np.random.default_rng(0))
    with _told(folder / "mistakes.png") as path:
        plot.segmentation(seen, labels[chosen], found[chosen], path, f"{run.name}: its worst mistakes", run.problem.classes)


def _worst_made(run: Run, made: np.ndarray, images: np.ndarray, folder: Path) -> None:
    """The images that what was made of them is farthest from."""
    seen = run.problem.transform(images, np.random.default_rng(0))
    chosen = ((made - seen) ** 2).sum((1, 2, 3)).argsort(kind="stable")[::-1][:SCENES]
    with _told(folder / "mistakes.png") as path:
        plot.sheet([seen[chosen], made[chosen]], path, ("image", "made"), f"{run.name}: its worst mistakes")


def _mistakes(name: str, p: np.ndarray, images: np.ndarray, labels: np.ndarray, problem: Problem, folder: Path) -> None:
    """The confusion matrix, and the worst of the mistakes where there are any."""
    classes = problem.classes
    counts = confusion(labels, p.argmax(1), len(classes))
    wrong = len(labels) - int(np.trace(counts))
    with _told(folder / "confusion.png") as path:
        plot.confusion_matrix(counts, classes, path, f"{name}: {wrong:,} of {len(labels):,} held-out images misread")
    chosen = worst(p, labels, MISTAKES)
    if len(chosen) == 0:
        console().print("mistakes.png is not drawn: there is no mistake")
        return
    captions = [f"{classes[labels[i]]}, read as\n{classes[p[i].argmax()]} ({100 * p[i].max():.0f} %)" for i in chosen]
    with _told(folder / "mistakes.png") as path:
        plot.labelled_images(images[chosen], captions, path, f"{name}: its worst mistakes")


def lr_test(flags: dict[str, Any], file: Path | None, low: float, high: float, steps: int, out: Path,
            data_dir: Path | None) -> None:
    """Run the range test, draw it, and print the rate to begin with."""
    config = configure(**{**(read_config(file) if file else {}), **flags})
    if not out.parent.is_dir():
        raise TrainError(f"there is no folder {out.parent} to draw {out.name} in")
    if out.is_dir():
        raise TrainError(f"{out} is a folder: --out names the picture, such as {out / 'lr_range.png'}")
    use_threads(config.threads)
    found = lr_range(new_model(config), load(config, data_dir), config, low, high, steps)
    chosen, screen = found.steepest, console()
    last, name = found.rates[-1], f"{config.data}, {config.model}, {config.optimizer}"
    screen.print(f"{name}: {len(found.rates)} steps, from {low:g} to {last:.2g}" +
                 (", where the loss broke" if len(found.rates) < steps else ""))
    if chosen is None:
        screen.print("the loss never fell: try a wider range (--low, --high) or more --steps")
    else:
        screen.print(f"the loss falls fastest at [bold]{chosen:.2g}[/]: try --lr {chosen:.2g}")
    with _told(out):
        plot.range_test(found.rates, found.losses, found.smooth, chosen, out,
                        f"{name}: the loss as the learning rate grows", OBJECTIVES[task_of(config)].loss_is)


@contextmanager
def _told(path: Path) -> Iterator[Path]:
    """The path of a picture, printed once it is drawn."""
    yield path
    console().print(str(path), markup=False, soft_wrap=True)
