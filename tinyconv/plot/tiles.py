"""The first layer's filters as pictures: what each of them looks for in an image."""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path

import numpy as np

from .figure import INK, new_figure, write_figure


def filters(weight: np.ndarray, path: str | Path, title: str = "", most: int = 64) -> None:
    """Draw weights (O, C, KH, KW) as one tile a filter, on one scale: blue below 0, white at 0, red above.

    Of several input channels the mean is drawn; of more than `most` filters the first.
    Raises: ValueError for another rank, PlotError where matplotlib is not installed, DataError where `path` cannot be
    written.
    """
    if weight.ndim != 4 or 0 in weight.shape:
        raise ValueError(f"filters are drawn from weights (O, C, KH, KW), got shape {weight.shape}")
    tiles = weight[:most].mean(1)
    top = float(np.abs(tiles).max()) or 1.0
    columns = _columns(len(tiles))
    rows = ceil(len(tiles) / columns)
    figure = new_figure(columns * 0.75 + 0.9, rows * 0.75 + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, tile in zip(grid.flat, tiles):
        image = axes.imshow(tile, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(color="#dddddd", linewidth=0.5)
    bar = figure.colorbar(image, ax=grid, shrink=min(1.0, 1.6 / rows + 0.3), aspect=16, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, colors=INK)
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    write_figure(figure, path)


def _columns(count: int) -> int:
    """The number of tiles in a row: near the shape of a page, and with as few gaps in the last row as can be."""
    page = sqrt(count * 1.6)
    return min(range(ceil(page * 0.7), ceil(page * 1.6) + 1), key=lambda n: (-count % n, abs(n - page)))
