"""`tinyconv bench`: what its flags ask for, run (run.py), shown and recorded. Ends with status 1 where an answer was wrong."""

from __future__ import annotations

from importlib.util import find_spec
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console

from ..kernels.jit import config
from ..names import unknown
from . import machine, page, report, suites
from . import record as records
from .contest import LIBRARIES, Ended, installed
from .run import Plan, Wrong, run

OTHERS = ",".join(LIBRARIES[1:])
DTYPES = ("float32", "float64")
QUICK = 46.0  # seconds after which --quick begins nothing new, so that it ends within a minute on a slow machine, too
console = Console()
errors = Console(stderr=True)


def bench(
    suite: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(suites.SUITES)}; all, if none is named")] = None,
    op: Annotated[str, typer.Option(help="operations, as conv, conv_input_grad, conv_weight_grad, max_pool, step; with commas, "
                                         "or a pattern")] = "*",
    case: Annotated[str, typer.Option(help="cases, as vgg.64 or mnist@10; with commas, or a pattern; vgg.64:N=1,H=14 resizes "
                                           "one")] = "*",
    algorithm: Annotated[str, typer.Option(help="algorithms beside the chosen one, with commas, or all")] = "",
    library: Annotated[str, typer.Option(help="other libraries, with commas; none for ours alone")] = OTHERS,
    dtype: Annotated[str, typer.Option(help="float32, float64, or both with a comma")] = "float32",
    threads: Annotated[str, typer.Option(help="numbers of threads, with commas; as many as cores by default")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="turns of each contestant")] = 9,
    quick: Annotated[bool, typer.Option("--quick", help="a few cases and turns of each suite, within a minute")] = False,
    kernel: Annotated[Path | None, typer.Option(help="a Python file with a kernel of yours, to check and to time",
                                                exists=True, dir_okay=False)] = None,
    compare: Annotated[tuple[Path, Path] | None, typer.Option(help="two records: what got faster or slower")] = None,
    out: Annotated[Path | None, typer.Option(help="folder to record in; bench/results in a clone by default")] = None,
) -> None:
    """Time every algorithm and library on the same problems, in turns, after judging every answer.

    Without a suite, filters choose among conv, pool and steps. A whole suite is
    recorded under its name, any part of one (filters, --quick, --kernel) as
    "last"; where an answer was wrong, nothing is.

    \b
    tinyconv bench --quick
    tinyconv bench --op conv_input_grad --case "vgg.*" --algorithm simd,im2col
    tinyconv bench --kernel my_kernel.py --case vgg.64
    tinyconv bench --compare OLD.json NEW.json
    """
    try:
        if compare:
            _compare(*compare)
            return
        if config.DISABLE_JIT:
            raise ValueError("nothing is timed with the compiler off: unset NUMBA_DISABLE_JIT")
        counts, folder = _threads(threads), records.folder(out)
        records.check_writable(folder)
        filtered = (op, case, algorithm) != ("*", "*", "")
        names = suite or (["conv"] if kernel else ["conv", "pool", "steps"] if filtered else list(suites.SUITES))
        plan = Plan(_tasks(names, op, case, dtype, quick or kernel is not None), _libraries(library),
                    tuple(filter(None, algorithm.split(","))), 3 if quick else rounds, kernel, quick,
                    perf_counter() + (QUICK if quick else inf))
        made = _run(plan, counts)
        if any(record["failures"] for record in made):
            errors.print("an answer was wrong, so nothing is recorded", style="red")
            raise typer.Exit(1)
        whole = not (filtered or quick or kernel) and library == OTHERS
        for record in made if whole else [records.joined("last", made)]:
            _keep(record, folder)
    except Wrong as mismatch:
        errors.print(f"WRONG {mismatch}", style="red", highlight=False)
        raise typer.Exit(1) from mismatch
    except (ValueError, Ended) as error:
        errors.print(f"tinyconv: {error}", style="red", highlight=False, markup=False)
        raise typer.Exit(2) from error


def _threads(text: str) -> list[int]:
    counts = text.split(",") if text else [str(machine.cores())]
    for count in counts:
        if not count.isdecimal() or not int(count):
            raise ValueError(f"--threads takes whole numbers from 1, with commas, not {count!r}")
    return [int(count) for count in counts]


def _tasks(names: list[str], op: str, case: str, dtype: str, few: bool) -> dict[str, list[suites.Task]]:
    """The tasks that the flags choose, by suite. Raises: ValueError for a name that nothing has, and where there are none."""
    dtypes = dtype.split(",")
    for what, given, known in (("suite", names, suites.SUITES), ("dtype", dtypes, DTYPES)):
        for name in given:
            if name not in known:
                raise ValueError(unknown(what, name, known))
    suites.check_names(names, op, case)
    tasks = {name: found for name in names if (found := list(suites.tasks(name, op, case, dtypes, few)))}
    if not tasks:
        beyond = few and any(True for name in names for _ in suites.tasks(name, op, case, dtypes, False))
        raise ValueError(f"nothing to time: no case of {', '.join(names)} matches --op {op} and --case {case}"
                         + " among the few of --quick and --kernel: leave them out" * beyond)
    return tasks


def _libraries(text: str) -> list[str]:
    have, lack = installed([name for name in text.split(",") if name != "none"])
    if lack:
        console.print(f"not installed, so left out: {', '.join(lack)}", style="yellow")
    return have


def _run(plan: Plan, counts: list[int]) -> list[dict]:
    """Run the plan with each number of threads, and show it: the record of each suite."""
    made: dict[str, dict] = {}
    for threads in counts:
        with console.status("starting") as status:
            for record in run(plan, threads, lambda line: console.print(line, highlight=False), status.update):
                if not record["suite"]:
                    for line in report.lines(record):
                        console.print(line, highlight=False)
                    continue
                _show(record)
                late = record.pop("late")
                if late:
                    console.print(f"left out, so that --quick ends within a minute: {', '.join(late)}", style="yellow",
                                  highlight=False)
                made[record["suite"]] = records.merged(made.get(record["suite"]), record)
    return list(made.values())


def _show(record: dict) -> None:
    for title, table in report.tables(record, console.width):
        console.print(f"\n{title}", style="italic", highlight=False)
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


def _keep(record: dict, folder: Path) -> None:
    """Record as JSON, and as pictures and a page where matplotlib is installed."""
    stem = record["suite"]
    records.save(record, folder / f"{stem}.json")
    written = [folder / f"{stem}.json"]
    if find_spec("matplotlib"):
        written += page.draw(record, folder, stem)
    else:
        console.print("matplotlib is not installed: no pictures and no page", style="yellow")
    console.print(f"recorded in {folder}: {', '.join(path.name for path in written)}", style="dim", highlight=False)


def _compare(old: Path, new: Path) -> None:
    before, after = records.load(old), records.load(new)
    found, alone = records.compare(before, after)
    if not found:
        raise ValueError(f"no row is in both: {old} has {before['suite']}, {new} has {after['suite']}")
    for line in report.compared(before, after, found, alone):
        console.print(line, highlight=False)
    console.print(report.changes(found))
