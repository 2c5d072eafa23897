"""`tinyconv reproduce`: a published table, trained again, row by row."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from ..bench.record import folder as machine_folder
from ..names import unknown
from ..reproduce import MNIST_TABLE, collect, find, jobs, learn, measured, write
from ..reproduce.record import SUITE, by_row
from ..reproduce.work import RESULT
from ..train import Data, TrainError, load, use_threads
from ..train.interrupt import Interrupt
from .screen import Screen, console

TABLES = (SUITE,)


def reproduce(table: str, rows: str, seeds: str, epochs: int | None, threads: int, out: Path | None, record: bool,
              data_dir: Path | None) -> int:
    """Train the rows that are not there yet; returns the exit status: 0, or 130 where Ctrl-C ended it before its time."""
    if table not in TABLES:
        raise TrainError(unknown("table", table, TABLES))
    wanted = [find(name.strip()) for name in rows.split(",")] if rows else list(MNIST_TABLE.values())
    todo = jobs(wanted, _numbers(seeds))
    out, screen = out or Path("runs") / table, console()
    use_threads(threads)
    sets: dict[int, Data] = {}
    with Interrupt() as stop:
        for number, job in enumerate(todo, 1):
            row, data = job.row, None
            if not (job.folder(out) / RESULT).exists():
                screen.print(f"\n[bold]{row.name}[/], seed {job.seed}: {row.network}  (published {row.published:.2f} %; "
                             f"{number} of {len(todo)})")
                if row.config.expand not in sets:  # of two sets at most one is kept: the large one takes 200 MB
                    sets = {row.config.expand: load(row.config, data_dir)}
                data = sets[row.config.expand]
            with Screen(screen) as watch:
                stop.told = watch.stopping
                done = learn(row, job.seed, out, epochs=epochs, threads=threads, data=data, watch=watch, stop=stop)
            if done is None:
                screen.print("\nstopped; the same command goes on from here")
                return 130
            write(collect(out), out / f"{table}.json")
            if stop():
                break
    _show(out)
    if record:
        path = machine_folder() / f"{table}.json"
        write(collect(out), path)
        screen.print(f"recorded in {path}", soft_wrap=True)
    return 130 if stop() else 0


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise TrainError(f"--seeds takes whole numbers with commas, got {text!r}")
    return [int(part) for part in parts]


def _show(out: Path) -> None:
    """Published and measured, side by side."""
    table, remarks = Table(box=None, padding=(0, 2, 0, 0)), []
    for name in ("row", "network"):
        table.add_column(name, no_wrap=True)
    for name in ("published", "measured", "s/epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, results in by_row(collect(out)).items():
        row, (accuracy, seconds, notes) = MNIST_TABLE[name], measured(results)
        table.add_row(name, row.network, f"{row.published:.2f}", f"[bold]{accuracy}[/]", seconds)
        remarks += [f"{name}: {notes}"] if notes else []
    screen = console()
    screen.print()
    screen.print(table)
    for remark in remarks:
        screen.print(remark, style="dim")
