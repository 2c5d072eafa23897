"""`tinyconv evaluate` and `tinyconv predict`: what a trained network is worth, and what it makes of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..train import Problem, Run, load, on_device, use_threads
from ..train import evaluate as measure
from ..train import predict as read
from ..train.picture import read_picture
from .screen import console

SHADES = " ░▒▓█"
BAR = 30  # columns
WIDE = 32


def evaluate(path: Path, best: bool, data_dir: Path | None, device: str = "cpu") -> None:
    """Accuracy on the held-out part, overall and class by class, and what is most often taken for what."""
    run = Run.open(path)
    model, out = on_device(run.model(best), device), console()
    use_threads(run.config.threads)
    images, labels = load(run.config, data_dir).test
    score = measure(model, (images, labels), run.problem.transform)
    out.print(f"[bold]{100 * score.accuracy:.2f} %[/] of {score.count:,} held-out images of {run.config.data} read right "
              f"by {run.config.model} ({len(score.wrong)} misread, loss {score.loss:.4f})\n")
    wrong = labels[score.wrong]
    table = Table.grid(padding=(0, 2))
    for number, name in enumerate(run.problem.classes):
        count, missed = int((labels == number).sum()), int((wrong == number).sum())
        share = 1 - missed / count
        table.add_row(name, bar(share), f"{100 * share:6.2f} %", f"{missed} of {count:,} misread" if missed else "")
    out.print(table)


def predict(path: Path, pictures: list[Path], best: bool, device: str = "cpu") -> None:
    """The class of each picture, with the picture as the network sees it and the probabilities as bars."""
    run = Run.open(path)
    model, out = on_device(run.model(best), device), console()
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
