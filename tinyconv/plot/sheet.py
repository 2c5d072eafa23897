"""Sheets: images in rows, as a network sees or makes them, and scenes with the class of every pixel in colour.

Read next: train/objective.py, the figures that go with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .figure import INK, new_figure, write_figure

# ten hues with equal steps between them, alternately light and dark; what is 0 stays black, and void pixels are white
PALETTE = np.array([[0, 0, 0], [255, 165, 40], [230, 230, 60], [110, 200, 40], [0, 150, 90], [60, 215, 215], [0, 120, 220],
                    [150, 140, 255], [150, 30, 220], [245, 130, 210], [225, 30, 60]], np.uint8)
GAP = 2  # pixels between two tiles
LETTER = 0.075  # inches: of a letter at size 9


def sheet(rows: Sequence[np.ndarray], path: str | Path, names: Sequence[str] = (), title: str = "") -> None:
    """Draw rows of images, each (N, 1, H, W) grey or (N, 3, H, W) of colours from 0 to 1, a name beside each row.

    Raises: ValueError for no rows, rows of unlike shapes or names that do not match, PlotError where matplotlib is not
    installed, DataError where `path` cannot be written.
    """
    write_figure(_laid_out(rows, names, title), path)


def _laid_out(rows: Sequence[np.ndarray], names: Sequence[str], title: str, below: float = 0.0) -> Any:
    """The figure of a sheet. below: inches left free under it."""
    if not rows or any(r.ndim != 4 or r.shape[1] not in (1, 3) or r.shape[2:] != rows[0].shape[2:] for r in rows):
        raise ValueError(f"a sheet takes rows of images (N, 1 or 3, H, W) of one size, got {[r.shape for r in rows]}")
    if names and len(names) != len(rows):
        raise ValueError(f"a sheet of {len(rows)} rows got {len(names)} names")
    H, W = rows[0].shape[2:]
    columns = max(len(row) for row in rows)
    page = np.ones((len(rows) * (H + GAP) - GAP, columns * (W + GAP) - GAP, 3))
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            page[r * (H + GAP):r * (H + GAP) + H, c * (W + GAP):c * (W + GAP) + W] = image.transpose(1, 2, 0)
    width, margin = 9.0, 0.1 + LETTER * max(map(len, names), default=0)
    figure = new_figure(width, (width - margin) * page.shape[0] / page.shape[1] + (0.4 if title else 0.1) + below)
    axes = figure.add_subplot()
    axes.imshow(page.clip(0, 1), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([r * (H + GAP) + H / 2 for r in range(len(names))], names)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.spines[:].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    return figure


def segmentation(images: np.ndarray, truth: np.ndarray, found: np.ndarray, path: str | Path, title: str = "",
                 classes: Sequence[str] = ()) -> None:
    """Draw scenes (N, 1, H, W) from 0 to 1 above the true class of each pixel (N, H, W) and above what a network found.

    Void pixels of the truth are white, and white below it too: there nothing is asked. classes: their names, told with
    their colours under the sheet. Raises: as `sheet`.
    """
    void = truth >= len(PALETTE)
    rows = [images, _coloured(truth, void), _coloured(found, void)]
    figure = _laid_out(rows, ("scene", "truth", "found"), title, 0.3 if classes else 0.0)
    if classes:
        from matplotlib.patches import Patch

        keys = [Patch(facecolor=colour / 255, label=name) for name, colour in zip(classes, PALETTE)]
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False, fontsize=9, labelcolor=INK,
                      handlelength=1, handletextpad=0.4, columnspacing=1.2)
    write_figure(figure, path)


def _coloured(labels: np.ndarray, void: np.ndarray) -> np.ndarray:
    """Classes (N, H, W) as colours (N, 3, H, W)."""
    colours = PALETTE[np.where(void, 0, labels)] / 255
    colours[void] = 1
    return colours.transpose(0, 3, 1, 2)
