"""What a training run is told: one frozen record, the same from flags, from Python and from the TOML file of a run.

Each data set comes with a recipe, a Config that is known to work on it; flags change single fields of that.
Read next: problem.py, what the data sets are; loop.py, what is done with all this.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

from ..names import unknown


class TrainError(ValueError):
    """What stops a training run or a look at one, told in one line that says what to do."""


def one_of(what: str, name: Any, known: Any) -> Any:
    """`name`, if it is among the known. Raises: TrainError that lists them."""
    if not isinstance(name, str) or name not in known:
        raise TrainError(unknown(what, name, known))
    return name


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that decides how a run goes; the same Config on the same data gives the same weights bit for bit.

    augment: "none", or names of problem.AUGMENTATIONS with commas, such as "shift:2,flip". threads: 0 for all cores.
    device: "cpu" or "cuda". graph: on the GPU, record a step once and launch it as a whole (a CUDA graph).
    validation: training samples held back to watch the run by; split: "stratified" draws them by the seed, "last" takes the
    last of the file. expand: pixels by which the training images are moved in four directions to make five times as many.
    weight_decay: of the weights; biases and the scales of norms have none. patience: epochs without a better one on the
    validation samples after which the run ends; 0 for never. label_smoothing, momentum: as in PyTorch.
    """

    data: str = "digits"
    model: str = "digits"
    epochs: int = 20
    batch_size: int = 32
    lr: float = 0.005
    optimizer: str = "adamw"
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: str = "one-cycle"
    label_smoothing: float = 0.1
    augment: str = "shift:1"
    expand: int = 0
    validation: int = 137
    split: str = "stratified"
    patience: int = 0
    seed: int = 0
    threads: int = 0
    device: str = "cpu"
    graph: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if kind is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not kind:
                raise TrainError(f"{field.name} must be of type {kind.__name__}, got {value!r}")
            if kind is float and not isfinite(getattr(self, field.name)):
                raise TrainError(f"{field.name} must be a finite number, got {value}")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise TrainError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.lr <= 0:
            raise TrainError(f"lr must be above 0, got {self.lr}")
        one_of("split", self.split, SPLITS)
        if self.graph and self.device == "cpu":
            raise TrainError('graph=true records what is launched on a GPU: it wants device "cuda"')
        if self.label_smoothing > 1:
            raise TrainError(f"label_smoothing must be 0 to 1, got {self.label_smoothing}")

    def to_toml(self) -> str:
        """The record as TOML, a line a field."""
        return "".join(f"{name} = {json.dumps(value)}\n" for name, value in asdict(self).items())


SPLITS = ("stratified", "last")
LEAST = {"epochs": 1, "batch_size": 1, "momentum": 0, "weight_decay": 0, "label_smoothing": 0, "expand": 0, "validation": 1,
         "patience": 0, "seed": 0, "threads": 0}

RECIPES = {
    "digits": Config(threads=1),  # too little work for two cores to share
    "mnist": Config(data="mnist", model="cnn", epochs=3, batch_size=64, lr=0.002, label_smoothing=0.0, augment="none",
                    validation=5_000),
    "fashion-mnist": Config(data="fashion-mnist", model="bncnn", epochs=12, batch_size=64, lr=0.004, weight_decay=0.05,
                            label_smoothing=0.05, augment="shift:2,flip", validation=2_000),
    "scenes": Config(data="scenes", model="unet", epochs=8, lr=0.005, label_smoothing=0.0, augment="none", validation=500),
}


def configure(**changes: Any) -> Config:
    """The recipe of the data set (data=, else the digits) with these fields changed; None leaves a field alone.

    Raises: TrainError for a data set or field that does not exist, or a value that makes no sense.

    >>> configure(data="mnist", epochs=1).model
    'cnn'
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    data = changes.get("data", "digits")
    known = [field.name for field in fields(Config)]
    for name in changes:
        one_of("setting", name, known)
    return replace(RECIPES[one_of("data set", data, RECIPES)], **changes)


def read_config(path: Path) -> dict[str, Any]:
    """The fields that a TOML file sets, for `configure`. Raises: TrainError where it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise TrainError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError
        raise TrainError(f"{path} is no TOML file: {error}") from error
