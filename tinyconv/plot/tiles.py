"""The first layer's filters as pictures: what each of them looks for in an image."""

from __future__ import annotations

from math import ceil, sqrt
from pathlib import Path

import numpy as np

from .figure import INK, PALE, new_figure, write_figure

GAP = 0.12  # between two tiles, as a part of their width


def filters(weight: np.ndarray, path: str | Path, title: str = "", most: int = 64) -> None:
    """Draw weights (O, C, KH, KW) as one tile a filter, on one scale: blue below 0, white at 0, red above.

    Of several input channels the mean is drawn; of more than `most` filters the first.
    Raises: ValueError for another rank, PlotError where matplotlib is not installed, DataError where `path` cannot be
    written.
    """
    if weight.ndim != 4 or 0 in weight.shape:
        raise ValueError(f"filters are drawn from weights (O, C, KH, KW), got shape {weight.shape}")
    tiles = weight[:most].mean(1)
    limit = float(np.abs(tiles).max()) or 1.0
    KH, KW = tiles.shape[1:]
    columns = _columns(len(tiles))
    rows = ceil(len(tiles) / columns)
    right, down = KW * (1 + GAP), KH + KW * GAP  # from one tile to the next
    figure = new_figure(columns * 0.75 + 0.9, rows * 0.75 * down / right + 0.5)
    axes = figure.add_subplot()  # one for all tiles: axes are what takes matplotlib its time
    for i, tile in enumerate(tiles):
        x, y = i % columns * right, i // columns * down
        image = axes.imshow(tile, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest",
                            extent=(x, x + KW, y + KH, y))
        axes.plot([x, x + KW, x + KW, x, x], [y, y, y + KH, y + KH, y], color=PALE, linewidth=0.4, clip_on=False)
    axes.set(xlim=(0, columns * right - KW * GAP), ylim=(rows * down - KW * GAP, 0))
    axes.set_axis_off()
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 1.6 / rows + 0.3), aspect=16, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, colors=INK)
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    write_figure(figure, path)


def _columns(count: int) -> int:
    """The number of tiles in a row: near the shape of a page, and with as few gaps in the last row as can be."""
    page = sqrt(count * 1.6)
    return min(range(ceil(page * 0.7), ceil(page * 1.6) + 1), key=lambda n: (-count % n, abs(n - page)))
