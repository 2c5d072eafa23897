"""What a named network is: a sentence about it, and the function that builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..nn import Module

Shape = tuple[int, int, int]  # of an image: (C, H, W)


class ModelError(ValueError):
    """A network that does not exist, or that does not fit the images, told in one line."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """build(image, classes) -> Module; `image` is the shape that the network was drawn for."""

    name: str
    summary: str
    build: Callable[[Shape, int], Module]
    image: Shape
