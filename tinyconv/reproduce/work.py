"""A row of the table, trained: each row and seed is a run in a folder of its own, ROW-seedN, and goes on where it was stopped.

When a run is through, its result is written into the folder as result.json, and what it makes of the test images, if it is
to vote, as predictions.npz: a vote needs no weights. A row with a result is not trained again.
Read next: record.py, which collects the results; train/loop.py, which does the work.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from .. import __version__
from ..bench.machine import describe
from ..data.files import replacing
from ..train import Config, Data, Run, TrainError, Watch, evaluate, fit, load, new_model, predict, vote
from .table import MNIST_TABLE, Row, find

RESULT, PREDICTIONS = "result.json", "predictions.npz"
NEEDED = {"row", "seed", "accuracy", "epochs"}  # of a result


@dataclass(frozen=True, slots=True)
class Job:
    """A row to be trained from a seed; its vote, where it has votes, comes after the jobs that it needs."""

    row: Row
    seed: int

    def folder(self, out: Path) -> Path:
        return out / f"{self.row.name}-seed{self.seed}"


def jobs(rows: Iterable[Row], seeds: Iterable[int]) -> list[Job]:
    """What is to be done, in order and each once: the vote of seed s takes the seeds 5s to 5s + 4 of its row."""
    seeds, todo = list(seeds), []
    for row in rows:
        for seed in seeds:
            todo += [Job(find(row.of), member) for member in _members(row, seed)] + [Job(row, seed)]
    return list(dict.fromkeys(todo))


def _members(row: Row, seed: int) -> range:
    return range(row.votes * seed, row.votes * (seed + 1)) if row.votes > 1 else range(0)


def learn(row: Row, seed: int, out: Path, *, epochs: int | None = None, threads: int = 0, data: Data | None = None,
          watch: Watch | None = None, stop: Callable[[], bool] = lambda: False) -> dict[str, Any] | None:
    """Train a row from a seed in its folder below `out`, or go on with it; the result, or None where it was stopped.

    epochs: another number than the book's. threads: as in Config; the weights do not depend on it. data: the row's samples,
    where they are in memory already. Raises: TrainError where the folder holds a run that was told otherwise.
    """
    job = Job(row, seed)
    folder = job.folder(out)
    wanted = replace(row.config, seed=seed, epochs=epochs or row.config.epochs, threads=threads)
    if (folder / RESULT).exists():
        result = read_result(folder / RESULT)
        if result["epochs"] != wanted.epochs:
            raise TrainError(f"{folder} holds a result of {result['epochs']} epochs, not of {wanted.epochs}: name another "
                             "folder with --out")
        return result
    data = data or load(wanted)
    if row.votes > 1:
        return _write(folder, _voted(job, out, wanted, data))
    run = _run(folder, wanted)
    training = fit(new_model(wanted), data, wanted, store=run, watch=watch, stop=stop)
    if not training.done:
        return None
    score = evaluate(run.model(best=True), data.test, data.problem.transform)
    run.write_metrics(training, evaluate(training.model, data.test, data.problem.transform))
    if any(other.of == row.name for other in MNIST_TABLE.values()):
        predictions(folder, data)
    return _write(folder, _facts(job, wanted) | {
        "accuracy": 100 * score.accuracy, "best_epoch": training.best.epoch,
        "validation": [round(100 * e.validation_accuracy, 4) for e in training.history],
        "seconds": [round(e.seconds, 3) for e in training.history]})


def read_result(path: Path) -> dict[str, Any]:
    """A result.json. Raises: TrainError where it is damaged."""
    try:
        result = json.loads(path.read_text("utf-8"))
        if missing := NEEDED - set(result):
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except (OSError, ValueError, TypeError) as error:
        raise TrainError(f"{path} is damaged, or no result of a row: {error}") from error
    return result


def predictions(folder: Path, data: Data) -> np.ndarray:
    """The probability of each class for the test images, (N, classes) float32, to six digits, by a run that is through.

    Kept in its folder, from which the vote reads it.

    Raises: TrainError where what is kept is damaged, or for other images.
    """
    path = folder / PREDICTIONS
    if not path.exists():
        found = predict(Run.open(folder).model(best=True), data.test[0], data.problem.transform)
        with replacing(path) as file:
            np.savez_compressed(file, probabilities=found.round(6))  # most of them are 0 then: an eighth of the bytes
    try:
        with np.load(path, allow_pickle=False) as kept:
            found = kept["probabilities"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise TrainError(f"{path} is damaged: {error}; without it, it is made anew from the weights") from error
    if len(found) != len(data.test[1]):
        raise TrainError(f"{path} is of {len(found)} images, the test set has {len(data.test[1])}")
    return found


def _run(folder: Path, wanted: Config) -> Run:
    if not (folder / "config.toml").is_file():
        return Run.create(wanted, folder)
    run = Run.open(folder)
    if replace(run.config, threads=wanted.threads) != wanted:
        raise TrainError(f"{folder} holds a run that was told otherwise (its epochs are {run.config.epochs}, these "
                         f"{wanted.epochs}): name another folder with --out")
    return run


def _voted(job: Job, out: Path, wanted: Config, data: Data) -> dict[str, Any]:
    """The result of a vote of runs that are through."""
    folders = [Job(find(job.row.of), seed).folder(out) for seed in _members(job.row, job.seed)]
    parts = [read_result(folder / RESULT) for folder in folders]
    read = vote([predictions(folder, data) for folder in folders])
    busy = next((part for part in parts if part["nice"] or part["threads"]), parts[0])  # its seconds are among the sum's
    return _facts(job, wanted) | {key: busy[key] for key in ("threads", "nice", "load")} | {
        "accuracy": 100 * float(np.mean(read == data.test[1])), "members": [part["accuracy"] for part in parts],
        "seconds": [sum(part["seconds"][i] for part in parts) for i in range(wanted.epochs)]}


def _facts(job: Job, config: Config) -> dict[str, Any]:
    """What every result says of its origin. nice, load: how busy the machine was, without which seconds say little."""
    load_now = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    nice = os.nice(0) if hasattr(os, "nice") else None
    return {"row": job.row.name, "seed": job.seed, "published": job.row.published, "epochs": config.epochs,
            "book_epochs": job.row.config.epochs, "threads": config.threads, "when": time.strftime("%Y-%m-%d %H:%M"),
            "machine": describe(), "tinyconv": __version__, "nice": nice, "load": load_now}


def _write(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / RESULT) as file:
        file.write((json.dumps(result, indent=1) + "\n").encode())
    return result
