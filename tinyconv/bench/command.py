"""`tinyconv bench`: run suites, show them, record them. Ends with status 1 where an answer was wrong."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from . import machine, report, suites
from .contest import LIBRARIES, Contest, installed
from .task import Task

SUITES = ("conv", "steps")
console = Console(soft_wrap=False)


def bench(
    suite: Annotated[list[str] | None, typer.Argument(help=f"any of: {', '.join(SUITES)}; all, if none is named")] = None,
    op: Annotated[str, typer.Option(help="operations, by name or pattern, with commas")] = "*",
    case: Annotated[str, typer.Option(help="cases, by name or pattern, with commas: vgg.*,mnist.c1")] = "*",
    algorithm: Annotated[str, typer.Option(help="algorithms besides the chosen one, with commas; or all")] = "im2col",
    library: Annotated[str, typer.Option(help="other libraries, with commas; none for ours alone")] = "torch",
    dtype: Annotated[str, typer.Option(help="float32, float64, or both with a comma")] = "float32",
    threads: Annotated[str, typer.Option(help="numbers of threads, with commas; all cores by default")] = "",
    rounds: Annotated[int, typer.Option(help="turns of each contestant")] = 9,
    quick: Annotated[bool, typer.Option("--quick", help="a few cases and turns, within a minute")] = False,
    save: Annotated[Path | None, typer.Option(help="where to record the rows as JSON")] = None,
) -> None:
    """Time every algorithm and library on the same problems, in turns, after judging every answer."""
    have, lack = installed([name for name in library.split(",") if name in LIBRARIES and name != "tinyconv"])
    for name in lack:
        console.print(f"{name} is not installed: skipped")
    record: dict[str, Any] = {"when": time.strftime("%Y-%m-%d %H:%M"), "machine": machine.describe(), "peaks": {},
                              "bandwidth": {}, "libraries": {}, "rows": []}
    failures = []
    for count in [int(t) for t in threads.split(",") if t] or [os.cpu_count() or 1]:
        tasks = list(_tasks(suite or list(SUITES), op, case, tuple(dtype.split(",")), quick))
        with console.status("starting") as status, Contest(have, count, 3 if quick else rounds, progress=status.update) as contest:
            for name, worker in contest.workers.items():
                record["libraries"][name] = worker.facts["version"]
            facts = contest.workers["tinyconv"].ask(do="machine", dtypes=sorted({t.dtype for t in tasks}))
            record["peaks"].update({f"{d}@{count}": value for d, value in facts["peaks"].items()})
            record["bandwidth"][str(count)] = facts["bandwidth"]
            for task in tasks:
                record["rows"] += contest.run(task, suites.contestants(task, have, tuple(algorithm.split(","))))
            failures += contest.failures
    for line in report.lines(record):
        console.print(line, highlight=False)
    for table in report.tables(record):
        console.print()
        console.print(table)
    for failure in failures:
        console.print(f"WRONG {failure}", style="red")
    if save:
        save.parent.mkdir(parents=True, exist_ok=True)
        save.with_suffix(".part").write_text(json.dumps(record, indent=1))
        save.with_suffix(".part").replace(save)
    if failures:
        sys.exit(1)


def _tasks(names: list[str], op: str, case: str, dtypes: tuple[str, ...], quick: bool) -> Iterator[Task]:
    made = {"conv": lambda: suites.conv_tasks(dtypes, quick), "steps": lambda: suites.step_tasks(quick)}
    for name in names:
        if name not in made:
            raise typer.BadParameter(f"no suite {name!r}; there are: {', '.join(made)}")
        for task in made[name]():
            if _matches(task.op, op) and _matches(task.case, case):
                yield task


def _matches(name: str, patterns: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns.split(","))
