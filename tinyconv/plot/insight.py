"""What a trained network sees, drawn: what it takes for what, its worst mistakes, its maps layer by layer, its saliency.

The numbers come from train/insight.py. Images are drawn as ink on paper. Read next: tiles.py, the filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .figure import BLUE, INK, ORANGE, PALE, new_figure, quiet_axes, write_figure
from .tiles import GAP

SIDE, LETTER = 0.56, 0.068  # inches: of a tile, and of a letter at size 8
MAPS = 16  # drawn of a layer
PER_ROW = 6  # images beside each other
SCALES = "blue is below 0, red above; each row has its own scale"


class LayerMaps(Protocol):
    """What is drawn of a layer; train.insight.Maps has it."""

    @property
    def name(self) -> str: ...
    @property
    def maps(self) -> np.ndarray: ...


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], path: str | Path, title: str = "") -> None:
    """Draw counts (classes, classes), true classes down and read ones across: shades are of the mistakes alone.

    Raises: ValueError where counts and classes do not agree, PlotError without matplotlib, DataError for an unwritable path.
    """
    n = len(classes)
    if counts.shape != (n, n):
        raise ValueError(f"{n} classes want counts of shape {(n, n)}, got {counts.shape}")
    figure = new_figure(0.5 * n + 1.6, 0.5 * n + 1.4)
    axes = figure.add_subplot()
    mistakes = counts * (1 - np.eye(n, dtype=int))
    most = int(mistakes.max()) or 1
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=most * 1.4)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            small = min(8, 48 / len(f"{count}"))  # millions of pixels fit as well
            axes.text(j, i, f"{count}", ha="center", va="center", fontsize=small, color=INK, weight="bold" if i == j else None)
    tilt: dict[str, Any] = {"rotation": 45, "ha": "right"} if max(map(len, classes)) > 2 else {}
    axes.set_xticks(range(n), classes, **tilt)
    axes.set_yticks(range(n), classes)
    axes.tick_params(colors=INK, length=0, labelsize=9)
    axes.spines[:].set_color(PALE)
    axes.set_xlabel("read as", fontsize=9, color=INK)
    axes.set_ylabel("is", fontsize=9, color=INK)
    _finish(figure, title, path)


def labelled_images(images: np.ndarray, captions: Sequence[str], path: str | Path, title: str = "") -> None:
    """Draw images (N, C, H, W), of several channels their mean, a caption above each.

    Raises: ValueError for no image, PlotError without matplotlib, DataError for an unwritable path.
    """
    if len(images) == 0:
        raise ValueError("there is no image to draw")
    columns = min(PER_ROW, len(images))
    rows = ceil(len(images) / columns)
    figure = new_figure(max(4.0, columns * 1.35), rows * 1.6 + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, image, caption in zip(grid, images, captions):
        axes.imshow(image.mean(0), cmap="gray_r", interpolation="nearest")
        axes.set_title(caption, fontsize=8, color=INK)
    _finish(figure, title, path)


def layer_maps(image: np.ndarray, layers: Sequence[LayerMaps], path: str | Path, title: str = "") -> None:
    """Draw an image (C, H, W), and below it a row for each layer: its first 16 maps, each row on a scale of its own.

    Blue is below 0, white 0, red above, as is written beside the image.
    Raises: PlotError without matplotlib, DataError for an unwritable path.
    """
    step = 1 + GAP
    names = ["{}  {}x{}x{}".format(name, *shape) for name, shape in
             [("image", image.shape), *((layer.name, layer.maps.shape) for layer in layers)]]
    margin = LETTER * max(map(len, names)) / SIDE + 0.3  # in tiles
    figure = new_figure((margin + MAPS * step + 0.6) * SIDE, (len(names) * step + 0.6) * SIDE)
    axes = figure.add_subplot()
    axes.imshow(image.mean(0), cmap="gray_r", interpolation="nearest", extent=(0, 1, 1, 0))
    axes.text(step, 0.5, SCALES, ha="left", va="center", fontsize=8, color=INK)
    for row, name in enumerate(names):
        axes.text(-0.2, row * step + 0.5, name, ha="right", va="center", fontsize=8, color=INK)
    for row, layer in enumerate(layers, 1):
        C = len(layer.maps)
        limit, top = float(np.abs(layer.maps).max()) or 1.0, row * step
        for i, tile in enumerate(layer.maps[:MAPS]):
            left = i * step
            axes.imshow(tile, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest",
                        extent=(left, left + 1, top + 1, top))
            axes.plot([left, left + 1, left + 1, left, left], [top, top, top + 1, top + 1, top], color=PALE, linewidth=0.4)
        if C > MAPS:
            axes.text(MAPS * step, top + 0.5, f"+{C - MAPS}", ha="left", va="center", fontsize=8, color=INK)
    axes.set(xlim=(-margin, MAPS * step + 0.5), ylim=(len(names) * step, -0.1))
    axes.set_axis_off()
    _finish(figure, title, path)


def saliency_maps(images: np.ndarray, maps: np.ndarray, captions: Sequence[str], path: str | Path, title: str = "") -> None:
    """Draw images (N, C, H, W) above their saliency (N, H, W): dark where the answer hangs on the pixel, each on its own scale.

    An outline says where in the saliency the image is darker than half.
    Raises: ValueError for no image, PlotError without matplotlib, DataError for an unwritable path.
    """
    if len(images) == 0:
        raise ValueError("there is no image to draw")
    columns = len(images)
    figure = new_figure(max(4.0, columns * 1.1), 2.7)
    grid = figure.subplots(2, columns, squeeze=False)
    for (above, below), image, salient, caption in zip(grid.T, images, maps, captions):
        above.imshow(image.mean(0), cmap="gray_r", interpolation="nearest")
        above.set_title(caption, fontsize=8, color=INK)
        below.imshow(salient, cmap="Oranges", vmin=0, interpolation="nearest")
        grey = image.mean(0)
        if np.ptp(grey):
            below.contour(grey, [(grey.min() + grey.max()) / 2], colors=BLUE, linewidths=0.6)
        above.set_axis_off()
        below.set_axis_off()
    _finish(figure, title, path)


def range_test(rates: np.ndarray, losses: np.ndarray, smooth: np.ndarray, chosen: float | None, path: str | Path,
               title: str = "", loss: str = "cross entropy") -> None:
    """Draw the loss of each step over its learning rate, the smoothed one on top, and a line at the rate to begin with.

    rates, losses, smooth: (steps,). loss: what it is. Raises: PlotError without matplotlib, DataError for an unwritable path.
    """
    figure = new_figure(6.4, 3.8)
    axes = figure.add_subplot()
    quiet_axes(axes)
    axes.plot(rates, losses, color=PALE, linewidth=0.8, label="of each batch")
    axes.plot(rates, smooth, color=BLUE, label="smoothed")
    if chosen is not None:
        axes.axvline(chosen, color=ORANGE, linestyle="--", linewidth=1, label=f"try {chosen:.2g}")
    axes.set_xscale("log")
    low, high = float(smooth.min()), float(smooth[0])
    axes.set_ylim(max(0.0, low - 0.3 * (high - low)), high + 0.7 * (high - low) if high > low else None)
    axes.set_xlabel("learning rate", fontsize=9, color=INK)
    axes.set_title(f"loss ({loss})", fontsize=10, loc="left", color=INK)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    _finish(figure, title, path)


def _finish(figure: Any, title: str, path: str | Path) -> None:
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    write_figure(figure, path)
