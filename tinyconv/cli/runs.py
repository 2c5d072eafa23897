"""`tinyconv runs`: the runs in a folder side by side, each with what it was told that is not in its data set's recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any

from ..train import OBJECTIVES, RECIPES, Config, Run, TrainError, task_of
from .screen import console
from .stderr import note

HEAD = ("epochs", "validation", "test", "s/epoch", "parameters")
NAME, WIDTHS = 25, (8, 12, 11, 9, 12)  # columns; 77 in all


def runs(folder: Path) -> None:
    """Print the table; a run that cannot be read is told of on stderr, and left out.

    Raises: TrainError where the folder holds no run.
    """
    rows = []
    for path in sorted((file.parent for file in folder.rglob("config.toml")), key=_natural):
        try:
            run = Run.open(path)
            rows.append((str(path.relative_to(folder)) if path != folder else path.name, _numbers(run), _told(run.config)))
        except (TrainError, KeyError, TypeError) as error:
            note(f"{path} is left out: {error if isinstance(error, TrainError) else 'its metrics.json is damaged'}")
    if not rows:
        raise TrainError(f"there are no runs in {folder}: `tinyconv train` makes them")
    out = console()
    out.print(_line("run", HEAD), style="bold", markup=False)
    for name, numbers, told in rows:
        out.print(_line(name, numbers), markup=False, soft_wrap=True)
        out.print(fill(told, 78, initial_indent="  ", subsequent_indent="    "), style="dim", markup=False)


def _line(name: str, cells: Sequence[str]) -> str:
    """A row; a long name has a line of its own."""
    start = f"{name:{NAME}}" if len(name) <= NAME else f"{name}\n{'':{NAME}}"
    return start + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS))


def _natural(path: Path) -> list[Any]:
    """A key that sorts digits-2 before digits-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _numbers(run: Run) -> list[str]:
    """The cells of a row: epochs done, the best validation accuracy, that on the held-out samples, the usual time, size."""
    outcome = run.outcome()
    if not outcome or not (epochs := outcome["epochs"]):
        return [f"0/{run.config.epochs}", "-", "-", "-", "-"]
    best = max(e["validation_accuracy"] for e in epochs)
    test, seconds = outcome["test"], median(e["seconds"] for e in epochs)  # the first epoch may have compiled
    told = OBJECTIVES[task_of(run.config)].told
    return [f"{len(epochs)}/{run.config.epochs}", told(best), told(test["accuracy"]) if test else "-", f"{seconds:.2f}",
            f"{outcome['parameters']:,}"]


def _told(config: Config) -> str:
    """Data and model, and the settings that differ from the recipe: "mnist cnn: lr=0.1, seed=3"."""
    recipe = asdict(RECIPES[config.data])
    told = [f"{name}={value}" for name, value in asdict(config).items()
            if value != recipe[name] and name not in ("data", "model", "epochs")]
    return " ".join(dict.fromkeys((config.data, config.model))) + (f": {', '.join(told)}" if told else "")
