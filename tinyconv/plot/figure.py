"""What all pictures share: a figure without pyplot's global state, the house's colours, and writing in one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.files import replacing

INK, PALE = "#222222", "#b8b8b8"
BLUE, ORANGE = "#0072b2", "#d55e00"  # told apart by colour-blind readers (Okabe and Ito), and in grey by their lightness


class PlotError(RuntimeError):
    """A picture that cannot be drawn, told in one line that says how to get it."""


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib Figure of this size in inches. Raises: PlotError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError("pictures need matplotlib: pip install matplotlib") from error
    return Figure((width, height), layout="constrained", facecolor="white")


def write_figure(figure: Any, path: str | Path) -> None:
    """The figure as SVG where the suffix says so, else as PNG; it takes the place of `path` at once.

    Raises: DataError where it cannot be written.
    """
    import matplotlib

    with replacing(Path(path)) as file, matplotlib.rc_context({"svg.hashsalt": "tinyconv"}):  # the same ids on every run
        if Path(path).suffix.lower() == ".svg":
            figure.savefig(file, format="svg", metadata={"Date": None})
        else:
            figure.savefig(file, format="png", dpi=160)


def quiet_axes(axes: Any) -> None:
    """Axes with nothing in them but what carries a number."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, length=0, labelsize=9)
    axes.grid(axis="y", color=PALE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)
