"""`tinyconv explore`: write the page, and open it in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from ..explore import write_page
from .geometry import told
from .screen import console


def explore(out: Path, show: bool, **geometry: object) -> None:
    """Write the page to `out`, print its path, and open it where `show` says so and there is a browser."""
    with told():
        write_page(out, **geometry)
    console().print(str(out), soft_wrap=True, markup=False)
    if show:
        webbrowser.open(out.resolve().as_uri())
