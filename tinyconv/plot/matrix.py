"""Convolution as a matrix, and the count of its positions: two pictures that are not a window at work.

    y = C x,  x' = C^T y      for x and y unrolled row by row: a row of C is the kernel laid over x at one position

Read next: kernels/conv/toeplitz.py, which computes with C; geometry.py, the pictures that move.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..arithmetic import conv_relationship
from ..dims import ConvDims
from .cells import CELL, DIM, LINE, as_text, box, canvas, square
from .figure import INK, new_figure, write_figure
from .geometry import DATA, PADDING, conv_scene

MOST = 64  # columns that can still be told apart
DARK, PALE_TAP = np.array([0, 60, 110]), np.array([232, 240, 200])  # of the first and the last tap: grey tells them apart too


def matrix(dims: ConvDims) -> np.ndarray:
    """Which tap each entry of C holds, (OH*OW, H*W), as an index into the flat kernel; -1 for a zero.

    >>> from ..dims import conv_dims
    >>> matrix(conv_dims((1, 1, 1, 4), (1, 1, 1, 3)))
    array([[ 0,  1,  2, -1],
           [-1,  0,  1,  2]])
    """
    scene = conv_scene(dims, None, np.arange(prod(dims.kernel)).reshape(dims.kernel))
    C = np.full((prod(dims.output), prod(dims.input)), -1)
    for row, step in enumerate(scene.steps):
        for at, tap in step.read.items():
            r, c = (v - lo for v, (lo, _) in zip(at, dims.padding))
            if 0 <= r < dims.input[0] and 0 <= c < dims.input[1]:
                C[row, r * dims.input[1] + c] = int(tap)
    return C


def toeplitz(dims: ConvDims, path: str | Path, w: np.ndarray | None = None) -> None:
    """Draw C beside C^T, a shade for every tap; the entries are names w_ij, or the numbers of w (KH, KW).

    Raises: ValueError where C has more than 64 columns, PlotError without matplotlib, DataError for an unwritable path.
    """
    C = matrix(dims)
    rows, columns = C.shape
    if max(rows, columns) > MOST:
        raise ValueError(f"this convolution is a matrix of {rows}x{columns}: at most {MOST} a side can be drawn")
    labels = [as_text(float(v)) for v in w.ravel()] if w is not None else [
        f"$w_{{{r},{c}}}$" for r, c in np.ndindex(dims.kernel)]
    side = columns >= 2 * rows  # a flat C leaves room under it, beside a tall C^T
    wide = columns + rows + 4.2
    text = _words(dims, rows, columns)
    tall = columns + 2.5 + (0 if side else LINE * (len(text) + 1))
    figure = new_figure((wide + 1) * CELL, (tall + 0.6) * CELL)
    axes = canvas(figure, wide, tall)
    _matrix(axes, C, labels, (1.6, 2.3), f"C, {rows}x{columns}", dims.output, dims.input, "y", "x")
    _matrix(axes, C.T, labels, (columns + 3.9, 2.3), f"$C^T$, {columns}x{rows}", dims.input, dims.output, "x", "y")
    top = rows + 2.3 + 2 if side else columns + 2.3 + LINE
    for n, line in enumerate(text):
        axes.text(1.6, top + n * LINE * 1.3, line, ha="left", va="center", fontsize=9, color=INK)
    write_figure(figure, path)


def _words(dims: ConvDims, rows: int, columns: int) -> list[str]:
    return [conv_scene(dims).caption,
            f"y = C x: {columns} numbers to {rows}. A row is the kernel laid over x at one position.",
            f"x' = $C^T$ y: {rows} numbers to {columns}. The transposed convolution: the same weights, the other way.",
            "$C^T$ is the gradient of the one, C is the gradient of the other."]


def _matrix(axes: Any, C: np.ndarray, labels: list[str], at: tuple[float, float], name: str, down: tuple[int, ...],
            across: tuple[int, ...], row_name: str, column_name: str) -> None:
    """One matrix with the names of its rows and columns, and a bold line where a row of the plane ends."""
    rows, columns = C.shape
    axes.text(at[0] + columns / 2, at[1] - 1.7, name, ha="center", va="center", fontsize=10, color=INK)
    for (r, c), tap in np.ndenumerate(C):
        if tap < 0:
            square(axes, at, (r, c), "white", DIM, dot=True)
            continue
        part = tap / max(1, len(labels) - 1)
        shade = DARK + (PALE_TAP - DARK) * part
        fill = "#" + "".join(f"{round(v):02x}" for v in shade)
        square(axes, at, (r, c), fill, "white" if part < 0.42 else INK, labels[tap])
    for r, index in enumerate(np.ndindex(*down)):
        axes.text(at[0] - 0.25, at[1] + r + 0.5, f"${row_name}_{{{index[0]},{index[1]}}}$", ha="right", va="center", fontsize=7,
                  color=INK)
    for c, index in enumerate(np.ndindex(*across)):
        axes.text(at[0] + c + 0.5, at[1] - 0.45, f"${column_name}_{{{index[0]},{index[1]}}}$", ha="center", va="center",
                  fontsize=7, color=INK)
    for r in range(0, rows, down[1]):
        for c in range(0, columns, across[1]):
            box(axes, at, r, c, r + down[1], c + across[1], INK, 1.6)


def positions(dims: ConvDims, path: str | Path) -> None:
    """Draw why the output has the size it has: the first window, and the steps it takes to the right and down.

    Raises: PlotError where matplotlib is not installed, DataError for an unwritable path.
    """
    scene = conv_scene(dims)
    rows, columns = scene.left.shape
    s, o = dims.stride, dims.output
    rule = conv_relationship(dims.input[1], dims.kernel[1], s[1], *dims.padding[1], dims.dilation[1])
    steps = o[1] - 1
    text = [f"{steps} step{'s' * (steps != 1)}{f' of {s[1]}' if s[1] > 1 else ''} to the right, and the place to start from: "
            f"{steps} + 1 = {o[1]}", f"relationship {rule.number}: {rule.formula} = {rule.numbers} = {rule.size}"]
    wide, tall = max(columns, 15), rows + 2.2
    figure = new_figure((wide + 1) * CELL, (tall + 0.6) * CELL)
    axes = canvas(figure, wide, tall)
    at = ((wide - columns) / 2, 0.2)
    for cell in np.ndindex(rows, columns):
        lit = cell in scene.steps[0].read
        square(axes, at, cell, "#8fbcd9" if lit else "#eef5fa" if scene.left.roles[cell] == DATA else "white", INK,
               dashed=scene.left.roles[cell] == PADDING, hatch=bool(scene.left.unused[cell]))
    height, width = (d * (k - 1) + 1 for k, d in zip(dims.kernel, dims.dilation))
    box(axes, at, 0, 0, height, width, INK, 1.8)
    x, y = at[0] + width - 0.5, at[1] + height - 0.5
    for n in range(o[1] - 1):
        _arrow(axes, (x + n * s[1], at[1] + height / 2), (x + (n + 1) * s[1], at[1] + height / 2))
    for n in range(o[0] - 1):
        _arrow(axes, (at[0] + width / 2, y + n * s[0]), (at[0] + width / 2, y + (n + 1) * s[0]))
    for n, line in enumerate(text):
        axes.text(wide / 2, rows + 0.95 + n * LINE * 1.2, line, ha="center", va="center", fontsize=9, color=INK)
    write_figure(figure, path)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, zorder=6, arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.6, "shrinkA": 1,
                                                        "shrinkB": 0})
