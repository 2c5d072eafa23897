"""Samples of a generator, many images on one sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .figure import INK, new_figure, write_figure

GAP = 2  # pixels of white between two images


def samples(images: np.ndarray, path: str | Path, title: str = "", columns: int = 8) -> None:
    """Draw images (N, C, H, W), C 1 or 3, of values 0 to 1, ink 1 where C is 1, row by row.

    Raises: ValueError for another shape, PlotError where matplotlib is not installed, DataError where `path` cannot be
    written.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"samples are drawn of images (N, C, H, W) with C 1 or 3, got shape {images.shape}")
    N, C, H, W = images.shape
    rows = -(-N // columns)
    page = np.full((rows * (H + GAP) - GAP, min(N, columns) * (W + GAP) - GAP, C), 0.0 if C == 1 else 1.0, np.float32)
    for n, image in enumerate(images):
        top, left = n // columns * (H + GAP), n % columns * (W + GAP)
        page[top:top + H, left:left + W] = image.transpose(1, 2, 0)
    width = 6.0
    figure = new_figure(width, width * page.shape[0] / page.shape[1] + 0.4 * bool(title))
    axes = figure.add_subplot()
    axes.imshow(page[..., 0] if C == 1 else page, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    write_figure(figure, path)
