"""Scenes on paper: PNG and SVG with a panel a step, or a GIF that moves.

Told apart without colour: what is read now is darker, data are light, padding is white with dashed edges, inserted zeros hold
a dot, what no window ever reads is hatched. Read next: geometry.py, what there is to draw; guide.py, the pictures of the guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from math import ceil, isnan
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from .cells import CELL, DIM, LINE, as_text, box, canvas, square
from .figure import BLUE, INK, ORANGE, PlotError, new_figure, write_figure
from .geometry import DATA, PADDING, ZERO, Cell, Grid, Scene, Step

GAP, NAME, UNDER = 1.5, 0.9, 0.6  # cells: between grids, above one and below
LIGHT, WARM = "#c6e2f5", "#fbe3c4"  # input, output
READ = {DATA: (BLUE, "white"), PADDING: ("#a9b4bc", INK), ZERO: ("#a9b4bc", INK)}  # fill and ink of cells under the window
MARKS = {PADDING: "padding", ZERO: "zeros put in", "unused": "never read"}
SECONDS, HOLD = 0.7, 1.6  # a step of an animation, and the last one
WIDEST, LARGEST = 56, 48  # cells across a picture, and the side of a grid
SUFFIXES = (".png", ".svg", ".gif")


def draw(scene: Scene, path: str | Path, steps: Sequence[int] | None = None) -> None:
    """Write a scene as PNG or SVG, a panel for each of the steps (indices; by default `few`), or as a GIF of all of them.

    Raises: ValueError for another suffix or a step that is none, PlotError where matplotlib is not installed, DataError
    where `path` cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"pictures are written as {', '.join(SUFFIXES)}; {Path(path).name!r} is none of them")
    check_size(*[g.shape for g in _grids(scene)])
    last = len(scene.steps) - 1
    for n in steps or ():
        if not 0 <= n <= last:
            raise ValueError(f"there is no step {n + 1}: this picture has steps 1 to {last + 1}")
    if suffix == ".gif":
        _animate(scene, Path(path), steps if steps is not None else range(last + 1))
    else:
        write_figure(panels(scene, few(scene) if steps is None else steps), path)


def check_size(*shapes: tuple[int, ...]) -> None:
    """Raise ValueError for a grid that has too many cells to show each of them."""
    for shape in shapes:
        if max(shape) > LARGEST:
            raise ValueError(f"a grid of {'x'.join(map(str, shape))} cells is too large to draw cell by cell: at most "
                             f"{LARGEST} a side")


def few(scene: Scene) -> list[int]:
    """Steps that tell the story: all of up to four, else the first two, the first of the second row, and the last."""
    count, width = len(scene.steps), scene.right.shape[1]
    return list(range(count)) if count <= 4 else sorted({0, 1, min(width, count - 2), count - 1})


def panels(scene: Scene, steps: Sequence[int]) -> Any:
    """A matplotlib Figure with a panel for each step, and the caption and the key below."""
    width, height = _extent(scene)
    across = min(1 if len(steps) == 1 else 2 if len(steps) <= 4 else 3, max(1, int(WIDEST // width)))
    down = ceil(len(steps) / across)
    total = max(across * width + (across - 1) * 2.2, 9.5)
    lines = [line for part in scene.caption.splitlines() for line in wrap(part, int(total * 4.2))]
    foot = LINE * (len(lines) + 1.6 * bool(_key(scene))) + 0.8
    tall = down * height + (down - 1) * 0.7 + foot
    figure = new_figure((total + 1) * CELL, (tall + 0.6) * CELL)
    axes = canvas(figure, total, tall)
    start = (total - across * width - (across - 1) * 2.2) / 2
    for n, step in enumerate(steps):
        row, column = divmod(n, across)
        _panel(axes, scene, step, start + column * (width + 2.2), row * (height + 0.7))
    for n, line in enumerate(lines):
        axes.text(total / 2, tall - foot + 0.9 + n * LINE, line, ha="center", va="center", fontsize=9, color=INK)
    _draw_key(axes, _key(scene), total / 2, tall - 0.5)
    return figure


def _extent(scene: Scene) -> tuple[float, float]:
    shapes = [g.shape for g in _grids(scene)] + ([scene.kernel.shape] if scene.kernel is not None else [])
    return sum(s[1] for s in shapes) + GAP * (len(shapes) - 1), max(s[0] for s in shapes) + NAME + UNDER


def _grids(scene: Scene) -> list[Grid]:
    return [g for g in (scene.left, scene.right, scene.sent) if g is not None]


def _panel(axes: Any, scene: Scene, n: int, x: float, y: float) -> None:
    """One step: the left grid with its window, the kernel, the right grid with what is made so far."""
    step, tall = scene.steps[n], _extent(scene)[1] - NAME - UNDER
    done = {s.made for s in scene.steps[:n + 1]}
    made = scene.right.values[~np.isnan(scene.right.values)]
    decimals = next((n for n in (0, 1, 2) if np.array_equal(made, made.round(n))), 1)

    def place(shape: tuple[int, ...], name: str, sign: str) -> tuple[float, float]:
        nonlocal x
        top = y + NAME + (tall - shape[0]) / 2
        axes.text(x + shape[1] / 2, top - 0.2, name, ha="center", va="bottom", fontsize=8, color=INK)
        if sign:
            axes.text(x - GAP / 2, y + NAME + tall / 2, sign, ha="center", va="center", color=INK,
                      fontsize=15 if sign == "⋆" else 12)
        at, x = (x, top), x + shape[1] + GAP
        return at

    at = place(scene.left.shape, scene.left.name, "")
    _draw_left(axes, scene.left, step, at)
    if scene.kernel is not None:
        at = place(scene.kernel.shape, scene.kernel_name, "⋆")
        for cell, weight in _cells(scene.kernel):
            square(axes, at, cell, "#e4e4e4", INK, as_text(weight))
    at = place(scene.right.shape, scene.right.name, "=" if scene.kernel is not None else "→")
    for cell, number in _cells(scene.right.values):
        lit = cell == step.made
        text = as_text(number, decimals) if cell in done or scene.sent is not None else ""
        square(axes, at, cell, ORANGE if lit else WARM if cell in done else "white", "white" if lit else INK, text)
    axes.text(at[0] + scene.right.shape[1] / 2, at[1] + scene.right.shape[0] + 0.2, f"{n + 1} of {len(scene.steps)}",
              ha="center", va="top", fontsize=7, color=DIM)
    if scene.sent is not None:
        target = _sent_to(scene, step)
        here = {_sent_to(scene, s) for s in scene.steps[:n + 1]}
        at = place(scene.sent.shape, scene.sent.name, "→")
        for cell, number in _cells(scene.sent.values):
            lit = cell == target
            fill = ORANGE if lit else WARM if cell in here else "white"
            square(axes, at, cell, fill, "white" if lit else INK, as_text(number) if cell in here else "")


def _sent_to(scene: Scene, step: Step) -> Cell:
    """Where on the third grid, which has no padding, the number of a step goes."""
    assert step.chosen is not None
    top, left = next(zip(*(scene.left.roles == DATA).nonzero()))
    return step.chosen[0] - int(top), step.chosen[1] - int(left)


def _draw_left(axes: Any, grid: Grid, step: Step, at: tuple[float, float]) -> None:
    for cell, number in _cells(grid.values):
        role, lit = grid.roles[cell], cell in step.read
        fill, ink = READ[role] if lit else (LIGHT, INK) if role == DATA else ("white", DIM)
        text = "" if isnan(number) else as_text(number)
        square(axes, at, cell, fill, ink, text, dashed=role == PADDING, hatch=bool(grid.unused[cell]),
               dot=role == ZERO and not text, small=as_text(step.read.get(cell, float("nan"))))
    rows, columns = [r for r, _ in step.read], [c for _, c in step.read]
    if rows:
        box(axes, at, min(rows), min(columns), max(rows) + 1, max(columns) + 1, INK, 1.8)
    if step.chosen is not None:
        from matplotlib.patches import Circle

        r, c = step.chosen
        axes.add_patch(Circle((at[0] + c + 0.5, at[1] + r + 0.5), 0.4, fill=False, edgecolor="white", linewidth=1.8, zorder=5))


def _cells(values: Any) -> Iterator[tuple[Cell, float]]:
    for r in range(values.shape[0]):
        for c in range(values.shape[1]):
            yield (r, c), float(values[r, c])


def _key(scene: Scene) -> list[str]:
    """The marks that the reader meets, other than those of data."""
    marks = [role for role in (PADDING, ZERO) if (scene.left.roles == role).any()]
    return marks + ["unused"] * bool(scene.left.unused.any())


def _draw_key(axes: Any, marks: list[str], middle: float, y: float) -> None:
    widths = [1.1 + 0.3 * len(MARKS[m]) for m in marks]
    x = middle - (sum(widths) + 0.6 * (len(marks) - 1)) / 2
    for mark, width in zip(marks, widths):
        square(axes, (x, y - 0.5), (0, 0), "white", DIM, dashed=mark == PADDING, hatch=mark == "unused", dot=mark == ZERO)
        axes.text(x + 1.25, y, MARKS[mark], ha="left", va="center", fontsize=7.5, color=INK)
        x += width + 0.6


def _animate(scene: Scene, path: Path, steps: Sequence[int]) -> None:
    """A GIF that shows the steps one by one, the last for longer, and begins anew."""
    from ..data.files import replacing

    try:
        from PIL import Image
    except ImportError as error:
        raise PlotError("animations need Pillow, which comes with matplotlib: pip install 'tinyconv[plot]'") from error
    frames = []
    for n in steps:
        buffer = BytesIO()
        panels(scene, [n]).savefig(buffer, format="png", dpi=110)
        frames.append(Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE))
    times = [int(1000 * SECONDS)] * (len(frames) - 1) + [int(1000 * HOLD)]
    with replacing(path) as file:
        frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0, disposal=1)
