"""`tinyconv train`: everything from flags to the folder that is left."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from .. import plot
from ..nn import Module
from ..train import (
    Config,
    Data,
    Run,
    Score,
    TrainError,
    Training,
    configure,
    fit,
    load,
    new_model,
    read_config,
    task_of,
    use_threads,
)
from ..train.interrupt import Interrupt
from ..train.optimise import MOMENTUM, OPTIMISERS
from ..train.score import forward
from .look import told
from .screen import Screen, console
from .stderr import note

LEFT = {"weights.safetensors": "the trained weights", "best.safetensors": "those of the best epoch",
        "metrics.csv, metrics.json": "every epoch, and the outcome", "config.toml": "what the run was told",
        "checkpoint.safetensors": "to go on from", "learning_curve.png": "how it learnt",
        "filters.png": "what its first layer looks for",
        "segmentation.png": "test scenes, the truth and what it finds", "reconstructions.png": "test images, and what it makes"}
RAW = {"weights.safetensors": "weights that have learnt little or nothing",  # stopped before the end of its first epoch
       "metrics.csv, metrics.json": "nothing yet but what the run was told"}

EXAMPLES = 8  # in a picture


def train(flags: dict[str, Any], file: Path | None, out: Path | None, resume: Path | None, data_dir: Path | None) -> int:
    """Train, or go on with a run; returns the exit status: 0, or 130 where Ctrl-C ended it before its time."""
    began = time.perf_counter()
    if resume is not None:
        if flags or file or out:
            raise TrainError("--resume goes on with a run as it was told: of the other flags it takes only --data-dir")
        run = Run.open(resume)
        config = run.config
    else:
        config = configure(**{**(read_config(file) if file else {}), **flags})
        if "momentum" in flags and config.optimizer in OPTIMISERS and config.optimizer not in MOMENTUM:
            raise TrainError(f"--momentum is read by {' and '.join(MOMENTUM)}; the optimizer is {config.optimizer}")
    use_threads(config.threads)
    model, data = new_model(config), load(config, data_dir)  # before a folder is made, or anything downloaded: either may fail
    if resume is None:
        run = Run.create(config, out)
    screen = console()
    _introduce(screen, config, data, model)
    try:
        with Screen(screen) as watch, Interrupt(watch.stopping) as stop:
            training = fit(model, data, config, store=run, watch=watch, stop=stop)
    except BaseException:
        run.discard()
        raise
    score = training.objective.score(model, data.test, data.problem.transform) if training.done else None
    run.write_metrics(training, score)
    _draw(run, training, score)
    _conclude(screen, run, training, score, time.perf_counter() - began)
    return 0 if training.done else 130


def _introduce(out: Console, config: Config, data: Data, model: Module) -> None:
    learn, watch, held = (len(labels) for _, labels in (data.train, data.validation, data.test))
    facts = Table.grid(padding=(0, 2))
    facts.add_row("model", f"[bold]{config.model}[/], {sum(p.numel() for p in model.parameters()):,} parameters")
    facts.add_row("data", f"[bold]{config.data}[/], {learn:,} to learn from, {watch:,} to validate, {held:,} held out")
    facts.add_row("how", f"{config.optimizer}, lr {config.lr:g} {config.schedule}, batches of {config.batch_size}, augment "
                         f"{config.augment}, seed {config.seed}{_where(config)}")
    out.print(facts)
    out.print()


def _where(config: Config) -> str:
    """What the line on the how says of the device."""
    if config.device == "cpu":
        return ""
    from ..kernels import gpu

    simulated = ", simulated on this CPU: to check it, not to be quick" if gpu.simulated() else ""
    without = " (each step is run anew, for the simulator has no graphs)" if config.graph and gpu.simulated() else ""
    return f", on {config.device}{simulated}{', as a CUDA graph' if config.graph else ''}{without}"


def _draw(run: Run, training: Training, score: Score | None) -> None:
    """The pictures, or a line on how to get them."""
    if not training.history:
        return
    name = run.name
    weight = next(iter(training.model.parameters())).detach().cpu().numpy()
    if weight.ndim == 2:  # a linear layer sees the pixels in a row: (O, C*H*W)
        weight = weight.reshape(-1, *run.problem.image)
    title = name if score is None else f"{name}: {told(score)[0]} {told(score)[1]} on {score.count:,} held-out images"
    goal = training.objective
    try:
        plot.learning_curve(training.history, run.path / "learning_curve.png", title, goal.loss_is, goal.lacking)
        plot.filters(weight, run.path / "filters.png", f"{name}: what the first layer looks for")
        _examples(run, training)
    except plot.PlotError as error:
        note(str(error))


def _examples(run: Run, training: Training) -> None:
    """What a network that puts out images makes of the first test samples."""
    images, labels = (part[:EXAMPLES] for part in training.data.test)
    task, transform = task_of(run.config), run.problem.transform
    if task == "classify":
        return
    seen, made = transform(images, np.random.default_rng(0)), forward(training.model, images, transform)
    if task == "segment":
        plot.segmentation(seen, labels, made.argmax(1), run.path / "segmentation.png", f"{run.name}: test scenes",
                          run.problem.classes)
    else:
        plot.sheet([seen, made], run.path / "reconstructions.png", ("image", "made"), f"{run.name}: test images")


def _conclude(out: Console, run: Run, training: Training, score: Score | None, seconds: float) -> None:
    """The outcome, and the paths of what is left."""
    out.print()
    table = Table.grid(padding=(0, 2))
    if score is not None:
        name, figure, words = told(score)
        table.add_row(f"held-out {name}", f"[bold]{figure}[/] ({words})")
    if training.history:
        best = training.best
        table.add_row("best epoch", f"{best.epoch}, validation {training.objective.told(best.validation_accuracy)}")
        if training.done and (last := len(training.history)) < training.config.epochs:
            table.add_row("stopped early", f"after epoch {last} of {training.config.epochs}: {last - best.epoch} without a "
                                           "better one")
    table.add_row("time", f"{seconds:.1f} s")
    table.add_row()
    table.add_row("left in", f"[bold]{run.path}/[/]")
    for names, what in {**LEFT, **(RAW if run.raw else {})}.items():
        if (run.path / names.split(",")[0]).exists():
            table.add_row(f"  {names}", what)
    out.print(table)
    look = f"predict {run.path} image.png" if task_of(run.config) == "classify" else f"evaluate {run.path}"
    todo = f"tinyconv {look}" if training.done else f"tinyconv train --resume {run.path}"
    out.print(f"\n{'next' if training.done else 'go on with'}:  {todo}", soft_wrap=True)
