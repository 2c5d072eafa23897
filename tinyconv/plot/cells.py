"""Cells on paper: what all pictures of grids are drawn with. Units are cells, y runs downwards; one cell is CELL inches.

Read next: draw.py, scenes made of these; matrix.py, matrices made of these.
"""

from __future__ import annotations

from math import isnan
from typing import Any

from .figure import INK

CELL = 0.36  # inches
LINE = 0.62  # cells, for a line of text
DIM = "#8a8a8a"  # the edge of what is not data


def canvas(figure: Any, width: float, height: float) -> Any:
    """Axes in units of cells, with y downwards, that fill the figure but for a margin."""
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.5, width + 0.5)
    axes.set_ylim(height + 0.3, -0.3)
    axes.set_axis_off()
    return axes


def square(axes: Any, at: tuple[float, float], cell: tuple[int, int], fill: str, ink: str, text: str = "", *,
           dashed: bool = False, hatch: bool = False, dot: bool = False, small: str = "") -> None:
    """A square with a number in it, and a small one (a weight) in its corner."""
    from matplotlib.patches import Rectangle

    x, y = at[0] + cell[1], at[1] + cell[0]
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=fill, edgecolor=DIM if dashed or dot else INK, linewidth=0.7,
                             linestyle=(0, (3, 2.2)) if dashed else "-", zorder=1 if dashed else 2))
    if hatch:
        axes.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor="#9a9a9a", linewidth=0, hatch="//////", zorder=2.5))
    if dot:
        axes.plot([x + 0.5], [y + 0.5], ".", color=ink, markersize=3, zorder=4)
    if text:
        axes.text(x + (0.42 if small else 0.5), y + (0.44 if small else 0.53), text, ha="center", va="center", zorder=4,
                  fontsize=_fit(text, 9), color=ink)
    if small:
        axes.text(x + 0.94, y + 0.93, small, ha="right", va="bottom", fontsize=_fit(small, 6.3), color=ink, zorder=4)


def box(axes: Any, at: tuple[float, float], top: float, left: float, bottom: float, right: float, ink: str,
           line: float) -> None:
    """A bold outline around cells."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((at[0] + left, at[1] + top), right - left, bottom - top, fill=False, edgecolor=ink, linewidth=line,
                             zorder=4.5))


def _fit(text: str, size: float) -> float:
    """A font size at which the text fits into its cell; $w_{0,0}$ is taken to be short."""
    if text.startswith("$"):
        return 0.85 * size
    return size if len(text) <= 2 else size * (0.86 if len(text) == 3 else 2.6 / len(text))


def as_text(v: float, decimals: int = 0) -> str:
    """At most `decimals`, or as many as it takes up to one; a share of a window as a fraction; nothing for NaN."""
    if isnan(v):
        return ""
    if not decimals and 0 < v < 1 and abs(1 / v - round(1 / v)) < 1e-9:
        return f"1/{round(1 / v)}"
    return f"{v:.{decimals or int(v != round(v))}f}"
