"""The explorer: one HTML page to point at, in which the three maps of convolution light up in one picture.

    write_page("explore.html", i=5, k=3, s=2, p=1)

The page holds all it needs: page.html is its frame, page.css its looks, arithmetic.js its sums, view.js what it does.
The arithmetic is written a second time, in JavaScript, and held to the library's by tests/test_explore.py.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import __version__
from ..data.files import replacing

__all__ = ["LIMITS", "page", "write_page"]

LIMITS = {"i": (1, 12), "k": (1, 7), "s": (1, 4), "p": (0, 6), "d": (1, 3)}  # of the sliders in page.html


def page(i: int = 5, k: int = 3, s: int = 1, p: int = 0, d: int = 1, fills: str = "y") -> str:
    """The page as text, with sliders at input i, kernel k, stride s, padding p and dilation d, filling slot y, x or w.

    Raises: ValueError for a number that its slider does not have, or another slot.

    >>> page(i=6, k=3, s=2, p=1).startswith("<!DOCTYPE html>")
    True
    """
    geometry = {"i": i, "k": k, "s": s, "p": p, "d": d}
    for name, value in geometry.items():
        least, most = LIMITS[name]
        if not least <= value <= most:
            raise ValueError(f"the page has a slider for {name} from {least} to {most}, not {value}")
    if fills not in ("x", "w", "y"):
        raise ValueError(f"a map fills x, w or y, not {fills!r}")
    start: dict[str, Any] = {**geometry, "map": fills, "seed": 1, "pool": {"mode": "max", "k": 2, "s": 2, "p": 0}}
    parts = {"version": __version__, "start": json.dumps(start)}
    folder = files(__package__)
    return re.sub(r"\{\{([\w.]+)\}\}", lambda m: parts.get(m[1]) or (folder / m[1]).read_text("utf-8").rstrip(),
                  (folder / "page.html").read_text("utf-8"))


def write_page(path: str | Path, **geometry: Any) -> None:
    """Write the page with these arguments of `page` into a file, at once. Raises: DataError where that cannot be."""
    text = page(**geometry)
    with replacing(Path(path)) as file:
        file.write(text.encode("utf-8"))
