"""What a named network is: a sentence about it, and the function that builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..nn import Module

Shape = tuple[int, int, int]  # of an image: (C, H, W)

TASKS = {
    "classify": "a class of each image",
    "segment": "a class of each pixel",
    "reconstruct": "the image itself",
    "generate": "an image out of noise",
    "judge": "whether an image is real",
}


class ModelError(ValueError):
    """A network that does not exist, or that does not fit the images, told in one line."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """build(image, classes) -> Module, a network for (or, of a generator, that makes) images of the shape (C, H, W).

    image, classes: what it was drawn for. task: what it gives, one of TASKS; networks that know no classes leave `classes`
    alone. noise: of a generator, how many numbers it makes an image of.
    """

    name: str
    summary: str
    build: Callable[[Shape, int], Module]
    image: Shape
    classes: int = 10
    task: str = "classify"
    noise: int = 0

    @property
    def sample(self) -> tuple[int, ...]:
        """The shape of what goes in, without the batch."""
        return (self.noise,) if self.noise else self.image

    def new(self) -> Module:
        """The network as it was drawn."""
        return self.build(self.image, self.classes)


def channels_of(name: str, image: Shape, least: int = 1) -> int:
    """The channels of an image (C, H, W) of at least `least` pixels a side. Raises: ModelError for other images."""
    C, H, W = image
    if min(H, W) < least:
        raise ModelError(f"the model {name} takes images of at least {least}x{least}; these are {H}x{W}")
    return C
