"""A picture file as an image that a network was trained to read: grey, dark ground, the subject framed as in its data set.

Pictures come as ink on white paper or light on dark, of any size; the sets hold light on dark, of one size, the subject
scaled to a square and centred (MNIST: a 20x20 square, by the centre of mass). Needs Pillow, which comes with `plot`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .config import TrainError
from .problem import Problem

INK = 0.2  # of the darkest stroke's contrast: what counts as the subject when it is framed
CONTRAST = 0.05  # of full scale: less, and the picture is called blank


def read_picture(path: Path, problem: Problem) -> np.ndarray:
    """One image (1, 1, H, W) of uint8 in the pixel values of `problem`. A picture of its very size is not framed anew.

    Raises: TrainError where the file is missing, no picture or blank, or where Pillow is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise TrainError("reading pictures needs Pillow: pip install pillow") from error
    try:
        with Image.open(path) as file:
            rgba = ImageOps.exif_transpose(file).convert("RGBA")
    except FileNotFoundError as error:
        raise TrainError(f"there is no file {path}") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainError(f"{path} is no picture that can be read (PNG, JPEG, ...): {error}") from error
    paper = Image.new("RGBA", rgba.size, "white")
    grey = np.asarray(Image.alpha_composite(paper, rgba).convert("L"), np.float32) / 255
    ink = _ink(grey, path)
    _, H, W = problem.image
    if ink.shape != (H, W):
        ink = _framed(ink, (H, W), problem.frame, Image)
    return np.rint(ink * problem.scale).astype(np.uint8)[None, None]


def _ink(grey: np.ndarray, path: Path) -> np.ndarray:
    """Ground 0, subject up to 1, whichever of the two is the lighter. The ground is what the border mostly shows."""
    if np.ptp(grey) < CONTRAST:
        raise TrainError(f"{path} is blank: its greys differ by {100 * np.ptp(grey):.0f} % of the scale")
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return 1 - grey if np.median(border) > 0.5 else grey


def _framed(ink: np.ndarray, size: tuple[int, int], frame: int, Image: Any) -> np.ndarray:
    """The subject of any picture, scaled to fit a square of `frame` and set into an image of `size`."""
    ground = np.median(np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]]))
    ink = np.clip((ink - ground) / (ink.max() - ground), 0, 1)
    rows, cols = np.flatnonzero((ink > INK).any(1)), np.flatnonzero((ink > INK).any(0))
    ink = ink[rows[0]:rows[-1] + 1, cols[0]:cols[-1] + 1]
    scale = frame / max(ink.shape)
    h, w = (max(1, round(n * scale)) for n in ink.shape)
    small = np.asarray(Image.fromarray(ink).resize((w, h), Image.Resampling.BILINEAR))  # Pillow averages as it shrinks
    small = np.clip(small / small.max(), 0, 1)  # a thin stroke has paled
    out = np.zeros(size, np.float32)
    top, left = (_start(small.sum(1 - axis), size[axis]) for axis in (0, 1))
    out[top:top + h, left:left + w] = small
    return out


def _start(mass: np.ndarray, room: int) -> int:
    """Where a subject with this mass along an axis begins, so that its centre of mass is in the middle, as far as fits."""
    centre = float(mass @ np.arange(len(mass)) / mass.sum()) + 0.5
    return min(max(round(room / 2 - centre), 0), room - len(mass))
