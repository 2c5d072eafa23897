"""Two pictures that say in cells what a formula says in indices: several maps make several maps, and a stride is a choice.

    y[o] = sum over c of x[c] * w[o, c]            y at stride s is y at stride 1, every s-th row and column

They are the guide's figures 1.3 and 1.4. Read next: geometry.py, pictures that move.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..dims import conv_dims
from .cells import CELL, DIM, LINE, as_text, canvas, square
from .figure import INK, new_figure, write_figure
from .geometry import conv_scene

LIGHT, GREY, WARM = "#c6e2f5", "#e4e4e4", "#fbe3c4"  # input, kernel, output


def feature_maps(C: int, O: int, path: str | Path, i: int = 5, k: int = 3) -> None:
    """Draw how O maps are made of C: each of its own kernel for every input, and the sum of what they give.

    Raises: PlotError where matplotlib is not installed, DataError for an unwritable path.
    """
    o, step = i - k + 1, k + 0.9  # from one kernel to the next
    tall, wide = O * C * step + (O - 1) * 0.8, 2 * i + 2 * k + o + 2.0
    kernels, sums, outputs = i + 4.0, i + k + 7.0, 2 * i + 2 * k + 1.0
    figure = new_figure((wide + 1) * CELL, (tall + 2.4) * CELL)
    axes = canvas(figure, wide, tall + 1.8)
    tops = [(tall - C * (i + 2) + 2) / 2 + c * (i + 2) for c in range(C)]
    for c, top in enumerate(tops):
        _grid(axes, (0, top), np.full((i, i), np.nan), LIGHT, f"$x_{c + 1}$")
    for n in range(O):
        rows = [n * (C * step + 0.8) + c * step + 0.9 for c in range(C)]
        middle = (rows[0] + rows[-1] + k) / 2
        for c, top in enumerate(rows):
            _grid(axes, (kernels, top), np.full((k, k), np.nan), GREY, f"$w_{{{n + 1},{c + 1}}}$")
            _line(axes, (i + 0.1, tops[c] + i / 2), (kernels - 0.1, top + k / 2))
            _line(axes, (kernels + k + 0.1, top + k / 2), (sums - 0.45, middle))
        axes.text(sums, middle, "+", ha="center", va="center", fontsize=12, color=INK)
        _line(axes, (sums + 0.45, middle), (outputs - 0.1, middle))
        _grid(axes, (outputs, middle - o / 2), np.full((o, o), np.nan), WARM, f"$y_{n + 1}$")
    axes.text(wide / 2, tall + 1.4, f"{C} maps to {O}: {O}x{C} kernels, each {k}x{k}; a map of the output is the sum of {C} "
              "convolutions", ha="center", va="center", fontsize=9, color=INK)
    write_figure(figure, path)


def stride_as_choice(x: np.ndarray, w: np.ndarray, s: int, path: str | Path) -> np.ndarray:
    """Draw a convolution of x (H, W) by w (KH, KW) at stride s above the same at stride 1, of which every s-th cell is kept.

    Returns the cells that are kept. Raises: PlotError without matplotlib, DataError for an unwritable path.
    """
    strided, dense = (conv_scene(conv_dims((1, 1, *x.shape), (1, 1, *w.shape), step), x, w).right.values for step in (s, 1))
    kept = dense[::s, ::s]
    rows, columns = x.shape
    tall, wide = 2 * rows + 4.2, columns + dense.shape[1] + strided.shape[1] + 8.0
    figure = new_figure((wide + 1) * CELL, (tall + 0.6) * CELL)
    axes = canvas(figure, wide, tall)
    for n, (result, text) in enumerate(((strided, f"stride {s}"), (dense, "stride 1"))):
        top = 0.9 + n * (rows + 1.6)
        _grid(axes, (0, top), x, LIGHT, f"x, {rows}x{columns}")
        at = (columns + 4, top + (rows - result.shape[0]) / 2)
        _arrow(axes, (columns + 0.3, top + rows / 2), (at[0] - 0.3, top + rows / 2), text)
        dropped = np.ones(result.shape, bool)
        dropped[::s, ::s] = False
        _grid(axes, at, result, WARM, "", dropped if n else None)
        if n:
            last = (at[0] + result.shape[1] + 4, top + (rows - kept.shape[0]) / 2)
            _arrow(axes, (last[0] - 3.7, top + rows / 2), (last[0] - 0.3, top + rows / 2), f"1 in {s}")
            _grid(axes, last, kept, WARM, "")
    axes.text(wide / 2, tall - LINE, f"A stride of {s} keeps one cell in {s}, in each direction, of what stride 1 makes: the "
              "same numbers", ha="center", va="center", fontsize=9, color=INK)
    write_figure(figure, path)
    return kept


def _grid(axes: Any, at: tuple[float, float], values: np.ndarray, fill: str, name: str,
          hatched: np.ndarray | None = None) -> None:
    """Cells with numbers, or empty ones; those that are dropped hatched."""
    axes.text(at[0] + values.shape[1] / 2, at[1] - 0.2, name, ha="center", va="bottom", fontsize=9, color=INK)
    for cell in np.ndindex(*values.shape):
        out = hatched is not None and bool(hatched[cell])
        square(axes, at, (cell[0], cell[1]), "white" if out else fill, DIM if out else INK, as_text(float(values[cell])),
               hatch=out)


def _line(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, zorder=0, arrowprops={"arrowstyle": "-|>", "color": DIM, "linewidth": 0.9, "shrinkA": 0,
                                                        "shrinkB": 0})


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    _line(axes, start, end)
    axes.text((start[0] + end[0]) / 2, start[1] - 0.3, text, ha="center", va="bottom", fontsize=9, color=INK)
