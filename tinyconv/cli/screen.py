"""What is seen of a run while it goes: a line an epoch, and on a terminal a bar that moves below them."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..train import Epoch, Training, Watch

COLUMNS = "epoch       loss  {:>9}   validation   images/s      time"
REFRESH = 0.1  # seconds between two looks of the bar


def console() -> Console:
    """Standard output: as wide as the terminal, 80 columns where it is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 80)


class Screen(Watch):
    """A Watch that draws. As a context it takes the bar away again, whatever happened."""

    def __init__(self, out: Console):
        self.out = out
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[now]}"), TimeRemainingColumn(),
            console=out, transient=True, disable=not out.is_terminal, auto_refresh=False)
        self.task = self.bar.add_task("starting", total=None, now="")
        self.drawn = 0.0
        self.since: tuple[int, float] | None = None  # samples and time after the first batch here of this epoch: it may compile
        self.rate = 0.0  # images a second since then

    def __enter__(self) -> Screen:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def begin(self, training: Training) -> None:
        """The heading, and the lines of a run that goes on."""
        from ..kernels import jit  # here: it brings Numba along, and `console` has users who do without

        if jit.FOLDER and not any(jit.FOLDER.rglob("*.nbi")):
            self.out.print("The first run compiles its kernels for this machine, which takes a moment.\n", style="dim")
        self.out.print(COLUMNS.format(training.objective.accuracy_is), style="bold")
        for line in training.history:
            self._print(line, training, training.loader.samples / line.seconds)
        self.bar.update(self.task, total=training.config.epochs * len(training.loader), refresh=True)

    def step(self, training: Training) -> None:
        """Move the bar, but not so often that it costs anything."""
        now, tally = time.perf_counter(), training.tally
        if self.since is None:  # the first batch of an epoch, or of what a resumed run has left of one
            self.since = tally.samples, now
            self.rate = tally.samples / tally.seconds
        else:
            self.rate = (tally.samples - self.since[0]) / (now - self.since[1])
        if now - self.drawn < REFRESH:
            return
        self.drawn = now
        done, per_epoch = len(training.history), len(training.loader)
        steps = -(-tally.samples // training.config.batch_size)
        self.bar.update(
            self.task, completed=done * per_epoch + steps, description=f"epoch {done + 1}/{training.config.epochs}",
            now=f"loss {tally.loss / tally.samples:.3f}  {training.objective.told(tally.accuracy)}  "
                f"{self.rate:,.0f} img/s", refresh=True)

    def epoch(self, training: Training) -> None:
        """Print the line of the epoch that has just ended."""
        self.since = None
        self._print(training.history[-1], training, self.rate)

    def stopping(self) -> None:
        """Say that a Ctrl-C was heard."""
        self.bar.update(self.task, description="stopping", now="after this batch; Ctrl-C again: at once", refresh=True)

    def _print(self, line: Epoch, training: Training, rate: float) -> None:
        number, told = f"{line.epoch}/{training.config.epochs}", training.objective.told
        self.out.print(f"{number:>5}  {line.loss:9.4f}   {told(line.accuracy):>8}     {told(line.validation_accuracy):>8}   "
                       f"{rate:8,.0f}   {line.seconds:5.1f} s")
