"""Data sets as something to train on: where the samples come from, how pixels become input, what the classes are called.

The samples are three sets that never mix: to learn from, to watch the run by (validation), and to judge it by at the end
(test: the held-out part of the data set, which nothing is tuned or selected on).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data import compose, digits, expand_shifts, fashion_mnist, flip, mnist, normalise, scenes, shift, split
from ..data.scenes import SIZE
from ..device import kind_named
from ..models import TASKS, ModelError, find
from ..nn import Module
from ..random import manual_seed
from .config import Config, TrainError, one_of

Pair = tuple[np.ndarray, np.ndarray]
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Folder = str | os.PathLike[str] | None


@dataclass(frozen=True, slots=True)
class Problem:
    """load(folder, train) -> images (N, *image) uint8, labels (N,) int64; (N, H, W) where every pixel has one.

    scale: the pixel value that becomes 1. frame: the side of the square that the subject fills in an image.
    tasks: of models.TASKS, what a network can be trained for on it.
    """

    name: str
    load: Callable[[Folder, bool], Pair]
    image: tuple[int, int, int]
    scale: int
    frame: int
    classes: tuple[str, ...]
    tasks: tuple[str, ...] = ("classify", "reconstruct")

    @property
    def transform(self) -> Transform:
        """Pixels to the network's input: float32, paper 0 and ink 1."""
        return normalise(scale=self.scale)


DIGITS = tuple("0123456789")
LEARN, HELD = 4_000, 1_000  # scenes
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

PROBLEMS = {p.name: p for p in (
    Problem("digits", lambda folder, train: digits(train), (1, 8, 8), 16, 8, DIGITS),
    Problem("mnist", lambda folder, train: mnist(folder, train), (1, 28, 28), 255, 20, DIGITS),
    Problem("fashion-mnist", lambda folder, train: fashion_mnist(folder, train), (1, 28, 28), 255, 28, CLOTHES),
    Problem("scenes", lambda folder, train: scenes("train", LEARN, root=folder) if train else scenes("test", HELD, root=folder),
            (1, SIZE, SIZE), 255, 28, ("background", *DIGITS), ("segment",)),
)}

AUGMENTATIONS: dict[str, Callable[[int], Transform]] = {"shift": shift, "flip": lambda _: flip()}


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The three sets of a problem, as pixels."""

    problem: Problem
    train: Pair
    validation: Pair
    test: Pair


def load(config: Config, folder: Folder = None) -> Data:
    """The samples of `config.data`, its training part split by `config.validation` and then expanded.

    folder: where the files of MNIST and Fashion-MNIST lie; without it TINYCONV_DATA, then the cache.
    Raises: DataError for files that are missing or damaged, TrainError where too many samples are held back or images are
    to be moved out of sight.
    """
    problem = PROBLEMS[config.data]
    pixelwise = problem.tasks == ("segment",)
    if pixelwise and (config.augment != "none" or config.expand):
        raise TrainError(f"augment={config.augment!r}, expand={config.expand}: {problem.name} has a class for each pixel, "
                         "which would not move with the image; set them to none and 0")
    images, labels = problem.load(folder, True)
    if pixelwise:  # made of digits that are in no other part, where a split would mix them
        watched = scenes("validation", config.validation, root=folder)
        return Data(problem, (images, labels), watched, problem.load(folder, False))
    if config.validation >= len(labels):
        raise TrainError(f"validation={config.validation} leaves nothing to train on: {problem.name} has "
                         f"{len(labels)} training samples")
    if config.split == "last":
        at = len(labels) - config.validation
        train, validation = (images[:at], labels[:at]), (images[at:], labels[at:])
    else:
        train, validation = split(images, labels, config.validation, config.seed)
    if config.expand:
        try:
            train = expand_shifts(*train, config.expand)
        except ValueError as error:
            raise TrainError(f"expand={config.expand}: {error}") from error
    return Data(problem, train, validation, problem.load(folder, False))


def new_model(config: Config) -> Module:
    """The network of a run on its device, its weights drawn from `config.seed`, from which the default generator is started
    afresh; they are the same on every device.

    Raises: ModelError for an unknown name, a network for another task, or one that does not take images of this size;
    TrainError for a device that there is none of, with what is missing.
    """
    task_of(config)
    manual_seed(config.seed)
    problem = PROBLEMS[config.data]
    return on_device(find(config.model).build(problem.image, len(problem.classes)), config.device)


def on_device(model: Module, device: str) -> Module:
    """The model, moved there. Raises: TrainError for a device that does not exist, or that says what is missing."""
    try:
        return model.to(device=kind_named(device))
    except (RuntimeError, ValueError) as error:
        raise TrainError(str(error)) from error


def task_of(config: Config) -> str:
    """What the network of a run is for, one of models.TASKS. Raises: ModelError where the data are not for it."""
    problem, task = PROBLEMS[config.data], find(config.model).task
    if task not in problem.tasks:
        raise ModelError(f"the model {config.model} gives {TASKS[task]}: {problem.name} takes one that gives "
                         f"{' or '.join(TASKS[t] for t in problem.tasks)}")
    return task


def augmentation(text: str, size: int) -> list[Transform]:
    """The transforms of a setting such as "shift:2,flip", in that order; "none" is none of them. size: of the images.

    Raises: TrainError for a name that does not exist, or a number that makes no sense or moves images out of sight.
    """
    steps: list[Any] = []
    for part in text.split(",") if text != "none" else []:
        name, _, number = part.strip().partition(":")
        make = AUGMENTATIONS[one_of("augmentation", name, AUGMENTATIONS)]
        if number and not (number.isdecimal() and int(number) > 0 and name == "shift"):
            raise TrainError(f"augment={text!r}: what may follow a name is :N, the pixels to shift by")
        if int(number or 1) >= size:
            raise TrainError(f"augment={text!r} moves images of {size} pixels out of sight: at most shift:{size - 1}")
        steps.append(make(int(number or 1)))
    return steps


def training_transform(problem: Problem, config: Config) -> Transform:
    """What the loader does to a batch of training images: augment, then scale.

    Raises: TrainError as `augmentation` does.
    """
    return compose(*augmentation(config.augment, min(problem.image[1:])), problem.transform)
