"""`tinyconv draw`: pictures of a geometry, or of all those of the guide.

Numbers, where they are asked for, are small whole ones drawn from the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import typer

from .. import plot
from ..dims import Ints
from ..plot.draw import SUFFIXES, check_size
from ..plot.geometry import Scene
from .geometry import Geometry, told
from .screen import console

KINDS = ("conv", "conv-transpose", "dilated", "max-pool", "average-pool", "unpool", "toeplitz", "positions", "checkerboard")
ONE = (1, 1)  # channels


def draw(kind: str, geometry: Geometry, output_padding: str, values: bool, seed: int, steps: str, out: Path) -> None:
    """Draw one picture and print its path."""
    if kind not in KINDS:
        raise typer.BadParameter(f"there is no picture of {kind!r}; there are: {', '.join(KINDS)}, guide")
    numbers = np.random.default_rng(seed)

    def some(shape: Ints, least: int, most: int) -> np.ndarray | None:
        return numbers.integers(least, most + 1, shape) if values or kind == "unpool" else None

    with told():
        if kind == "checkerboard":
            plot.checkerboard(out, seed)
        elif kind in ("toeplitz", "positions"):
            dims = geometry.conv(ONE)
            if kind == "toeplitz":
                plot.toeplitz(dims, out, some(dims.kernel, 1, 3))
            else:
                plot.positions(dims, out)
        else:
            plot.draw(_scene(kind, geometry, output_padding, some), out, _steps(steps))
    console().print(str(out), soft_wrap=True, markup=False)


def guide(folder: Path, suffix: str) -> None:
    """Draw the guide's whole set and print the paths."""
    if suffix not in SUFFIXES:
        raise typer.BadParameter(f"pictures are written as {', '.join(s[1:] for s in SUFFIXES)}, not {suffix[1:]}")
    for path in plot.draw_guide(folder, suffix):
        console().print(str(path), soft_wrap=True, markup=False)


def _scene(kind: str, geometry: Geometry, output_padding: str,
           some: Callable[[Ints, int, int], Any]) -> Scene:
    """What there is to draw. Raises: ValueError where that is too large, before a step of it is worked out."""
    if kind in ("max-pool", "average-pool", "unpool"):
        pooling = geometry.pool()
        check_size(pooling.input)
        x = some(pooling.input, 0, 9)
        if kind == "unpool":
            return plot.unpool_scene(pooling, x, np.arange(1, np.prod(pooling.output) + 1).reshape(pooling.output))
        return plot.pool_scene(pooling, kind.removesuffix("-pool"), x)
    if kind == "conv-transpose":
        dims = geometry.transposed(ONE, 1, output_padding)
        check_size(dims.input)
        return plot.transposed_scene(dims, some(dims.output, 0, 3), some(dims.kernel, 1, 3))
    dims = geometry.conv(ONE)
    check_size(dims.input)
    return plot.conv_scene(dims, some(dims.input, 0, 3), some(dims.kernel, 1, 3))


def _steps(text: str) -> list[int] | None:
    """The steps "1,5,9", counted from 1 as the pictures do; none for the few that tell the story."""
    if not text:
        return None
    try:
        return [int(part) - 1 for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--steps {text!r} should be numbers, as in 1,5,9") from None
