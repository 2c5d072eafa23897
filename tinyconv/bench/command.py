"""`tinyconv bench`: run suites, show them, record them. Ends with status 1 where an answer was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.console import Console

from ..kernels.jit import config
from . import machine, page, report, startup, suites
from . import record as records
from .contest import LIBRARIES, OURS, Contest, Contestant, Worker, installed
from .task import Task

OTHERS = LIBRARIES[1:]
FIRST_CALLS = ("direct", "im2col", "simd", "aot")  # algorithms whose first call is timed, beside the chosen one
QUICK = 46.0  # seconds after which --quick begins nothing new, so that it ends within a minute on a slow machine, too
EAGER = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # glibc gives memory back when it is freed
console = Console()
errors = Console(stderr=True)


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

    Without a suite, filters choose among conv, pool and steps. A whole suite is recorded under its name, any part of one
    (filters, --quick, --kernel) as "last".
    """
    try:
        if compare:
            _compare(*compare)
            return
        if config.DISABLE_JIT:
            raise ValueError("nothing is timed with the compiler off: unset NUMBA_DISABLE_JIT")
        filtered = (op, case, algorithm) != ("*", "*", "")
        names = suite or (["conv"] if kernel else ["conv", "pool", "steps"] if filtered else list(suites.SUITES))
        if unknown := set(names) - set(suites.SUITES):
            raise ValueError(f"no suite {', '.join(sorted(unknown))}; there are: {', '.join(suites.SUITES)}")
        have, lack = installed([name for name in library.split(",") if name != "none"])
        if lack:
            console.print(f"not installed, so left out: {', '.join(lack)}", style="yellow")
        few, dtypes = quick or kernel is not None, tuple(dtype.split(","))
        tasks = {name: list(suites.tasks(name, op, case, dtypes, few)) for name in names}
        if not any(tasks.values()) and "startup" not in names:
            raise ValueError(f"nothing to time: no case of {', '.join(names)} matches --op {op} and --case {case}")
        wanted = tuple(filter(None, algorithm.split(",")))
        made = {name: records.new(name) for name in names if tasks[name] or name == "startup"}
        until = perf_counter() + (QUICK if quick else inf)
        for count in [int(t) for t in threads.split(",") if t] or [machine.cores()]:
            _run(made, tasks, have, wanted, count, 3 if quick else rounds, kernel, quick, until)
        whole = (op, case, algorithm, kernel, quick, library) == ("*", "*", "", None, False, ",".join(OTHERS))
        folder = records.folder(out)
        for name, record in made.items() if whole else [("last", records.joined("last", list(made.values())))]:
            _keep(record, folder, name)
        if any(record["failures"] for record in made.values()):
            raise typer.Exit(1)
    except ValueError as error:
        errors.print(str(error), style="red", highlight=False)
        raise typer.Exit(2) from error


def _run(made: dict[str, dict], tasks: dict[str, list[Task]], libraries: list[str], algorithms: tuple[str, ...], threads: int,
         rounds: int, kernel: Path | None, quick: bool, until: float) -> None:
    """Add to each suite's record its rows with this number of threads, and show them; what would begin too late is named."""
    with console.status("starting") as status, Contest(libraries, threads, rounds, progress=status.update) as contest:
        ours = contest.workers[OURS]
        mine = _load(ours, kernel) if kernel else {}
        kinds = sorted({task.dtype for suite in tasks.values() for task in suite} | {"float32"})
        status.update("measuring the machine")
        facts = ours.ask("measure", dtypes=kinds)
        ladder = ours.ask("ladder")
        here = {**records.new(""), "libraries": contest.versions, "bandwidth": {str(threads): facts["bandwidth"]},
                "peaks": {f"{kind}@{threads}": value for kind, value in facts["peaks"].items()}}
        for line in report.lines(here):
            console.print(line, highlight=False)
        for name, record in made.items():
            for part in ("libraries", "peaks", "bandwidth"):
                record[part].update(here[part])
            rows: list[dict] = []
            late = []
            for task in tasks[name]:
                if perf_counter() > until:
                    late.append(task.name)
                elif not mine or any(task.op in ops for ops in mine.values()):
                    who = suites.contestants(task, ladder, libraries, (*algorithms, "im2col", *mine) if mine else algorithms)
                    rows += _memory(task, who, threads, status.update) if name == "memory" else contest.run(task, who)
            if name == "startup":
                timed = [a for a in ladder["conv"] if a in (algorithms or (() if quick else FIRST_CALLS))]
                for row in startup.rows(libraries, timed, threads, quick, status.update):
                    rows.append(row)
                    if perf_counter() > until:
                        late.append(f"startup after {row['case']} of {row['library']}")
                        break
            record["rows"] += rows
            record["failures"] += contest.failures
            _show({**record, "rows": rows, "failures": contest.failures})
            contest.failures = []
            if late:
                console.print(f"left out, so that --quick ends within a minute: {', '.join(late)}", style="yellow",
                              highlight=False)


def _memory(task: Task, contestants: list[Contestant], threads: int, progress: Callable[[Any], None]) -> Iterator[dict]:
    """The memory of each contestant, in a fresh process."""
    for who in contestants:
        progress(f"memory of {task.name}: {who.library} {who.algorithm}")
        with Worker(who.library, threads, **EAGER) as worker:
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
    found = records.compare(records.load(old), records.load(new))
    console.print("old / new, beyond the noise", style="italic")
    console.print(report.changes(found))
    if drift := records.drift(found):
        console.print(f"the other libraries came out {drift:.2f} times as fast: so much is the machine's doing")
