"""`tinyconv pictures` and `tinyconv lr-range`: what a trained network sees, and which learning rate to begin with, as PNGs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..train import (
    OBJECTIVES,
    Problem,
    Run,
    TrainError,
    configure,
    confusion,
    layer_maps,
    load,
    lr_range,
    new_model,
    on_device,
    predict,
    read_config,
    saliency,
    task_of,
    use_threads,
    worst,
)
from ..train.picture import read_picture
from .screen import console

MISTAKES = 24
IMAGES = 10  # of which the saliency is drawn


def pictures(path: Path, images: list[Path], best: bool, out: Path | None, data_dir: Path | None, device: str) -> None:
    """Draw confusion.png, mistakes.png, layers.png and saliency.png, and print their paths; of given images the last two.

    Raises: TrainError for a run or an image that cannot be read, PlotError without matplotlib.
    """
    run, folder = Run.open(path), out or path
    use_threads(run.config.threads)
    model, problem = on_device(run.model(best), device), run.problem
    given = np.concatenate([read_picture(image, problem) for image in images[:IMAGES]]) if images else None
    folder.mkdir(parents=True, exist_ok=True)
    if given is None:
        samples, labels = load(run.config, data_dir).test
        _mistakes(run.name, predict(model, samples, problem.transform), samples, labels, problem, folder)
        given = samples[[int((labels == n).argmax()) for n in range(len(problem.classes))][:IMAGES]]
    found = layer_maps(model, given[0], problem.transform)
    salient, read = saliency(model, given, problem.transform)
    names = [problem.classes[n] for n in read]
    if found:
        plot.layer_maps(given[0], found, _told(folder / "layers.png"),
                        f"{run.name}: the maps of its layers, for an image read as {names[0]}")
    else:
        console().print(f"layers.png is not drawn: no layer of {run.config.model} makes maps")
    plot.saliency_maps(given, salient, [f"read: {name}" for name in names], _told(folder / "saliency.png"),
                       f"{run.name}: the pixels that its answers hang on")


def _mistakes(name: str, p: np.ndarray, images: np.ndarray, labels: np.ndarray, problem: Problem, folder: Path) -> None:
    """The confusion matrix, and the worst of the mistakes where there are any."""
    classes = problem.classes
    counts = confusion(labels, p.argmax(1), len(classes))
    wrong = len(labels) - int(np.trace(counts))
    plot.confusion_matrix(counts, classes, _told(folder / "confusion.png"),
                          f"{name}: {wrong} of {len(labels):,} held-out images misread")
    chosen = worst(p, labels, MISTAKES)
    if len(chosen) == 0:
        console().print("mistakes.png is not drawn: there is no mistake")
        return
    captions = [f"{classes[labels[i]]}, read as\n{classes[p[i].argmax()]} ({100 * p[i].max():.0f} %)" for i in chosen]
    plot.labelled_images(images[chosen], captions, _told(folder / "mistakes.png"), f"{name}: its worst mistakes")


def lr_test(flags: dict[str, Any], file: Path | None, low: float, high: float, steps: int, out: Path,
            data_dir: Path | None) -> None:
    """Run the range test, draw it, and print the rate to begin with."""
    config = configure(**{**(read_config(file) if file else {}), **flags})
    if not out.parent.is_dir():
        raise TrainError(f"there is no folder {out.parent} to draw {out.name} in")
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
    plot.range_test(found.rates, found.losses, found.smooth, chosen, _told(out),
                    f"{name}: the loss as the learning rate grows", OBJECTIVES[task_of(config)].loss_is)


def _told(path: Path) -> Path:
    """The path, printed."""
    console().print(str(path), markup=False, soft_wrap=True)
    return path
