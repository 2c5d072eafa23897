"""A run's folder: all that is left of a training run, and all that is needed to look at it, use it or go on with it.

    config.toml             what the run was told              weights.safetensors     the weights as they are now
    metrics.csv, .json      a line an epoch; the outcome       best.safetensors        those of the best epoch
    checkpoint.safetensors  everything that changes, to resume from

Each file is replaced in one step, the checkpoint last: a run that is killed at any moment goes on from what is there.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ..data.files import replacing
from ..models import build
from ..nn import Module
from .checkpoint import UNFIT, read_tensors, read_tree, write_tensors, write_tree
from .config import Config, TrainError, configure, read_config
from .loop import Epoch, Training
from .objective import PixelScore
from .problem import PROBLEMS, Problem
from .score import Score

CHANGES = {"model", "optimiser", "schedule", "loader", "random", "tally", "history"}  # what Training.state_dict holds
RUNS = Path("runs")  # where a run without a name of its own goes


class Run:
    """The folder `path` of a run that was told `config`."""

    def __init__(self, path: Path, config: Config):
        self.path, self.config = path, config
        self.new = False
        self.made: list[Path] = []  # folders that this object made, the innermost first

    @classmethod
    def create(cls, config: Config, path: Path | None = None) -> Run:
        """Make the folder, and write the configuration into it.

        path: without it, the next free runs/DATA-MODEL-N (runs/digits-N for digits on digits).

        Raises: TrainError where it cannot be written or holds something already.
        """
        run = cls(path or _free(_name(config)), config)
        run._make()
        try:
            with replacing(run.path / "config.toml") as file:
                file.write(config.to_toml().encode())
        except BaseException:
            run.discard()
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run in a folder. Raises: TrainError where there is none."""
        if not (path / "config.toml").is_file():
            raise TrainError(f"{path} is no run: it holds no config.toml (`tinyconv train` makes runs, in {RUNS}/)")
        return cls(path, configure(**read_config(path / "config.toml")))

    @property
    def name(self) -> str:
        """Data and model in one word: mnist-cnn, or digits for digits on digits."""
        return _name(self.config)

    @property
    def problem(self) -> Problem:
        """What the run was trained on."""
        return PROBLEMS[self.config.data]

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    def model(self, best: bool = False) -> Module:
        """The trained model: the weights as the run left them, or those of the best epoch.

        Raises: TrainError where the file is missing, damaged, of another model, or holds a NaN or an infinity.
        """
        model = build(self.config.model, self.problem.image, len(self.problem.classes))
        path = self.path / ("best.safetensors" if best else "weights.safetensors")
        weights, _ = read_tensors(path)
        try:
            model.load_state_dict(weights)
        except ValueError as error:
            raise TrainError(f"{path} is not of the model {self.config.model}: {error}") from error
        for name, array in weights.items():
            if wrong := array.size - int(np.isfinite(array).sum()):
                raise TrainError(f"{path} is damaged: {wrong:,} of the {array.size:,} numbers of {name} are NaN or infinite")
        return model

    def restore(self, training: Training) -> None:
        """Put `training` where the run's checkpoint was made, if there is one; files cut short by a kill are swept away."""
        for part in self.path.glob(".*.part"):
            part.unlink(missing_ok=True)
        if not self.checkpoint.exists():
            return
        state = read_tree(self.checkpoint)
        if lacking := CHANGES - state.keys():
            raise TrainError(f"{self.checkpoint} is no checkpoint of a run: it lacks {', '.join(sorted(lacking))}")
        try:
            training.load_state_dict(state)
        except UNFIT as error:
            raise TrainError(f"cannot go on from {self.checkpoint}: {error}") from error

    def save(self, training: Training) -> None:
        """Write the weights, the metrics and the checkpoint as they are now."""
        weights, notes = training.model.state_dict(), {"model": self.config.model, "data": self.config.data}
        write_tensors(self.path / "weights.safetensors", weights, notes)
        if training.history and not training.tally.samples and training.best is training.history[-1]:
            write_tensors(self.path / "best.safetensors", weights, notes)
        self.write_metrics(training)
        write_tree(self.checkpoint, training.state_dict())

    def write_metrics(self, training: Training, score: Score | None = None) -> None:
        """Write metrics.csv and metrics.json; score: that of the finished run on the test samples."""
        more = {"pixels": score.pixels, "confusion": score.confusion.tolist()} if isinstance(score, PixelScore) else {}
        outcome: dict[str, Any] = {
            "config": asdict(self.config),
            "parameters": sum(p.numel() for p in training.model.parameters()),
            "finished": training.done,
            "accuracy_is": training.objective.accuracy_is,
            "best_epoch": training.best.epoch if training.history else None,
            "test": None if score is None else {"accuracy": score.accuracy, "loss": score.loss, "count": score.count,
                                                "wrong": score.wrong.tolist(), **more},
            "epochs": [asdict(e) for e in training.history],
        }
        for name, text in (("metrics.csv", _csv(training.history)), ("metrics.json", json.dumps(outcome, indent=1) + "\n")):
            with replacing(self.path / name) as file:
                file.write(text.encode())

    def outcome(self) -> dict[str, Any]:
        """What write_metrics wrote last; {} before the end of the first epoch. Raises: TrainError where it is damaged."""
        try:
            found = json.loads((self.path / "metrics.json").read_text("utf-8"))
            if not isinstance(found["epochs"], list):
                raise TypeError
        except FileNotFoundError:
            return {}
        except (KeyError, TypeError, ValueError) as error:
            raise TrainError(f"{self.path / 'metrics.json'} is damaged: it does not hold the metrics of a run") from error
        return found

    @property
    def raw(self) -> bool:
        """Whether it was stopped before the end of its first epoch; False where its metrics are missing or damaged."""
        try:
            return self.outcome().get("epochs") == []
        except TrainError:
            return False

    def discard(self) -> None:
        """Take away what a new run has left so far, unless there is a checkpoint worth keeping."""
        if self.checkpoint.exists() or not self.new:
            return
        for name in ("config.toml", "weights.safetensors", "best.safetensors", "metrics.csv", "metrics.json"):
            with suppress(OSError):
                (self.path / name).unlink()
        for folder in self.made:
            with suppress(OSError):
                folder.rmdir()

    def _make(self) -> None:
        made = [p for p in (self.path, *self.path.parents) if not p.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(path.suffix != ".part" for path in self.path.iterdir()):  # those a kill left: see restore
                raise TrainError(f"{self.path} holds files already: name another folder with --out, or go on with the "
                                 f"run in it: tinyconv train --resume {self.path}")
        except OSError as error:
            raise TrainError(f"cannot make the folder {self.path}: {error.strerror}; name another one with --out") from error
        self.new, self.made = True, made


def _name(config: Config) -> str:
    return "-".join(dict.fromkeys((config.data, config.model)))


def _free(name: str) -> Path:
    """The first of runs/NAME-1, runs/NAME-2, ... that does not exist."""
    return next(path for i in count(1) if not (path := RUNS / f"{name}-{i}").exists())


def _csv(history: Sequence[Epoch]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Epoch)]
    writer.writerow(names)
    writer.writerows([getattr(e, name) for name in names] for e in history)
    return text.getvalue()
