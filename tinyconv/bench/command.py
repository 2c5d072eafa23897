"""`tinyconv bench`: run suites, show them, record them. Ends with status 1 where an answer was wrong."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from . import page, report, startup, suites
from . import record as records
from .contest import LIBRARIES, OURS, Contest, Contestant, Worker, installed
from .task import Task

OTHERS = LIBRARIES[1:]
console = Console()


def bench(
    suite: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(suites.SUITES)}; all, if none is named")] = None,
    op: Annotated[str, typer.Option(help="operations, by name or pattern, with commas")] = "*",
    case: Annotated[str, typer.Option(help="cases, by name or pattern, with commas; vgg.64:N=1,H=14 resizes one")] = "*",
    algorithm: Annotated[str, typer.Option(help="algorithms beside the chosen one, with commas, or all")] = "",
    library: Annotated[str, typer.Option(help="other libraries, with commas; none for ours alone")] = ",".join(OTHERS),
    dtype: Annotated[str, typer.Option(help="float32, float64, or both with a comma")] = "float32",
    threads: Annotated[str, typer.Option(help="numbers of threads, with commas; as many as cores by default")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="turns of each contestant")] = 9,
    quick: Annotated[bool, typer.Option("--quick", help="a few cases and turns of each suite, within a minute")] = False,
    kernel: Annotated[Path | None, typer.Option(help="a Python file with a kernel of yours, to check and to time")] = None,
    compare: Annotated[tuple[Path, Path] | None, typer.Option(help="two records: what got faster or slower")] = None,
    out: Annotated[Path | None, typer.Option(help="folder to record in; bench/results in a clone by default")] = None,
) -> None:
    """Time every algorithm and library on the same problems, in turns, after judging every answer.

    A whole suite is recorded under its name, any part of one (filters, --quick, --kernel) as "last".
    """
    try:
        if compare:
            _compare(*compare)
            return
        names = suite or (["conv"] if kernel else list(suites.SUITES))
        if unknown := set(names) - set(suites.SUITES):
            raise ValueError(f"no suite {', '.join(sorted(unknown))}; there are: {', '.join(suites.SUITES)}")
        have, lack = installed([name for name in library.split(",") if name != "none"])
        if lack:
            console.print(f"not installed, so left out: {', '.join(lack)}", style="yellow")
        whole = (op, case, algorithm, kernel, quick, library) == ("*", "*", "", None, False, ",".join(OTHERS))
        made = []
        for name in names:
            record = records.new(name)
            for count in [int(t) for t in threads.split(",") if t] or [os.cpu_count() or 1]:
                tasks = list(suites.tasks(name, op, case, tuple(dtype.split(",")), quick or kernel is not None))
                wanted = tuple(filter(None, algorithm.split(",")))
                _run(record, tasks, have, wanted, count, 3 if quick else rounds, kernel, quick)
            made.append(record)
            _show(record)
            if whole:
                _keep(record, records.folder(out), name)
        if not whole:
            _keep({**made[0], "suite": "last", "rows": [row for record in made for row in record["rows"]]},
                  records.folder(out), "last")
        if any(record["failures"] for record in made):
            raise typer.Exit(1)
    except ValueError as error:
        console.print(str(error), style="red")
        raise typer.Exit(2) from error


def _run(record: dict, tasks: list[Task], libraries: list[str], algorithms: tuple[str, ...], threads: int, rounds: int,
         kernel: Path | None, quick: bool) -> None:
    """Add the rows of one suite with one number of threads to a record."""
    with console.status("starting") as status, Contest(libraries, threads, rounds, progress=status.update) as contest:
        ours = contest.workers[OURS]
        record["libraries"].update(contest.versions)
        if kernel:
            mine = _load(ours, kernel)
            algorithms = (*algorithms, "im2col", *mine)
            tasks = [t for t in tasks if any(t.op == op for ops in mine.values() for op in ops)]
        facts = ours.ask("measure", dtypes=sorted({t.dtype for t in tasks} | {"float32"}))
        record["peaks"].update({f"{name}@{threads}": value for name, value in facts["peaks"].items()})
        record["bandwidth"][str(threads)] = facts["bandwidth"]
        ladder = ours.ask("ladder")
        for task in tasks:
            who = suites.contestants(task, ladder, libraries, algorithms)
            record["rows"] += _memory(task, who, threads, status.update) if task.suite == "memory" else contest.run(task, who)
        if record["suite"] == "startup":
            fastest = [a for a in ladder["conv"] if a in (algorithms or ("direct", "im2col", "simd", "aot"))]
            record["rows"] += startup.rows(libraries, fastest, threads, quick, status.update)
        record["failures"] += contest.failures


def _memory(task: Task, contestants: list[Contestant], threads: int, progress: Callable[[Any], None]) -> Iterator[dict]:
    """The memory of each contestant, in a fresh process."""
    for who in contestants:
        progress(f"memory of {task.name}: {who.library} {who.algorithm}")
        with Worker(who.library, threads) as worker:
            facts = worker.ask("memory", task=task.__dict__, algorithm=who.algorithm)
        if "wrong" in facts:
            raise ValueError(f"{task.name} by {who.library} {who.algorithm}: {facts['wrong']}")
        yield {**task.__dict__, **who.__dict__, **facts, "chosen": who.algorithm == "auto", "threads": threads}


def _load(ours: Worker, path: Path) -> dict[str, list[str]]:
    """Load a user's file in our worker and check its kernels on every small case: the operations of each algorithm.

    Raises: typer.Exit after showing the first mismatch.
    """
    reply = ours.ask("load", path=str(path.resolve()))
    if not reply.get("kernels"):
        why = reply.get("wrong", 'it registers no kernel: decorate one with @tinyconv.kernel("conv", "mine")')
        raise ValueError(f"{path}: {why}")
    mine: dict[str, list[str]] = {}
    for op, name in reply["kernels"]:
        found = ours.ask("check", op=op, algorithm=name)
        for mismatch in found["mismatches"][:1]:
            console.print(f"WRONG {mismatch}", style="red", highlight=False)
        if found["mismatches"]:
            raise typer.Exit(1)
        console.print(f"{op} by {name!r} is right on {found['right']} small cases")
        for why, count in Counter(found["left_out"]).items():
            console.print(f"  and refuses {count}: {why}", style="dim", highlight=False)
        mine.setdefault(name, []).append(op)
    return mine


def _show(record: dict) -> None:
    for line in report.lines(record):
        console.print(line, highlight=False)
    for table in report.tables(record, console.width):
        console.print()
        console.print(table)
    left_out: dict[tuple[str, str], list[str]] = {}
    for row in record["rows"]:
        if "refused" in row:
            left_out.setdefault((row["algorithm"] or row["library"], row["refused"]), []).append(f"{row['op']} {row['case']}")
    for (name, why), tasks in left_out.items():
        console.print(f"left out of {name}, {why}: {', '.join(tasks[:3])}" + f" and {len(tasks) - 3} more" * (len(tasks) > 3),
                      style="dim", highlight=False)
    for failure in record["failures"]:
        console.print(f"WRONG {failure}", style="red", highlight=False)


def _keep(record: dict, folder: Path, stem: str) -> None:
    """Record as JSON, and as pictures and a page where matplotlib is installed."""
    records.save(record, folder / f"{stem}.json")
    written = [folder / f"{stem}.json"]
    if find_spec("matplotlib"):
        written += page.draw(record, folder, stem)
    else:
        console.print("matplotlib is not installed: no pictures and no page", style="yellow")
    console.print(f"recorded in {', '.join(map(str, written))}", style="dim", highlight=False, soft_wrap=True)


def _compare(old: Path, new: Path) -> None:
    console.print(report.changes(records.compare(records.load(old), records.load(new))))
