"""A bench as it runs: its plan, a user's kernel loaded and checked, and the rows of suite after suite.

Nothing is printed here: `tell` gets a line that is worth keeping, `progress` one that is soon replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from ..names import unknown
from . import record as records
from . import startup, suites
from .contest import OURS, Contest, Contestant, Worker
from .task import SLOTS, Task

EAGER = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # glibc gives memory back when it is freed
Tell = Callable[[str], Any]


class Wrong(Exception):
    """A kernel of the user's gave a wrong answer: the mismatch."""


@dataclass(frozen=True)
class Plan:
    """What was asked for. tasks: by suite; until: the time after which nothing new is begun."""

    tasks: dict[str, list[Task]]
    libraries: list[str]
    algorithms: tuple[str, ...]
    rounds: int
    kernel: Path | None
    quick: bool
    until: float


def run(plan: Plan, threads: int, tell: Tell, progress: Tell) -> Iterator[dict]:
    """A record of each suite with this number of threads: its rows, what failed, and ("late") what was not begun in time.

    The first to come is the machine's, without rows. Raises: Wrong; ValueError for what the user can mend.
    """
    with Contest(plan.libraries, threads, plan.rounds, progress) as contest:
        ours = contest.workers[OURS]
        mine = load(ours, plan.kernel, tell) if plan.kernel else {}
        ladder = ours.ask("ladder")
        _check_algorithms(plan, ladder)
        chosen = {suite: [task for task in tasks if not mine or task.op in mine] for suite, tasks in plan.tasks.items()}
        if not any(chosen.values()):
            raise ValueError(f"nothing to time: {plan.kernel} has kernels of {', '.join(mine)} alone")
        progress("measuring the machine")
        here = _machine(contest, sorted({task.dtype for tasks in chosen.values() for task in tasks}))
        yield here
        for suite, tasks in chosen.items():
            rows: list[dict] = []
            late = []
            for task in tasks:
                if perf_counter() > plan.until:
                    late.append(task.name)
                    continue
                algorithms = (*plan.algorithms, "im2col", *mine[task.op]) if mine else plan.algorithms
                who = suites.contestants(task, ladder, plan.libraries, algorithms, plan.quick)
                rows += _rows(suite, task, who, contest, plan.quick)
            yield {**here, "suite": suite, "rows": rows, "failures": contest.failures, "late": late}
            contest.failures = []


def _rows(suite: str, task: Task, who: list[Contestant], contest: Contest, quick: bool) -> list[dict]:
    if suite == "startup":
        return list(startup.rows(task, who, contest.workers[OURS], quick, contest.progress))
    if suite == "memory":
        return [row for one in who for row in _memory(task, one, contest)]
    return contest.run(task, who)


def _memory(task: Task, who: Contestant, contest: Contest) -> Iterator[dict]:
    """The memory of a contestant, in a fresh process; whether its answer is right, the suite that times it has seen."""
    contest.progress(f"memory of {task.name}: {who.library} {who.algorithm}")
    with Worker(who.library, contest.threads, **EAGER) as worker:
        facts = worker.ask("memory", task=asdict(task), algorithm=who.algorithm)
    if "wrong" in facts:
        contest.failures.append(f"{task.name} by {who.library} {who.algorithm}: {facts['wrong']}")
    else:
        yield {**asdict(task), **asdict(who), **facts, "chosen": who.algorithm == "auto", "threads": contest.threads}


def _machine(contest: Contest, dtypes: list[str]) -> dict:
    """A record without rows: the machine, its peak for each dtype, its bandwidth, and the libraries."""
    facts, threads = contest.workers[OURS].ask("measure", dtypes=dtypes), contest.threads
    return {**records.new(""), "libraries": contest.versions, "bandwidth": {str(threads): facts["bandwidth"]},
            "peaks": {f"{dtype}@{threads}": value for dtype, value in facts["peaks"].items()}}


def _check_algorithms(plan: Plan, ladder: dict[str, list[str]]) -> None:
    known = dict.fromkeys(name for op in (*SLOTS, *suites.POOLING) for name in ladder[op])
    for name in plan.algorithms:
        if name not in known and name != "all":
            raise ValueError(unknown("algorithm", name, [*known, "all"]))


def load(ours: Worker, path: Path, tell: Tell) -> dict[str, list[str]]:
    """Load a user's file in our worker and check its kernels on every small case: the names of each operation.

    Raises: Wrong with the first mismatch; ValueError where there is nothing to check.
    """
    reply = ours.ask("load", path=str(path.resolve()))
    if not reply.get("kernels"):
        why = reply.get("wrong", 'it registers no kernel: decorate one with @tinyconv.kernel("conv", "mine")')
        raise ValueError(f"{path}: {why}")
    mine: dict[str, list[str]] = {}
    for op, name in reply["kernels"]:
        found = ours.ask("check", op=op, algorithm=name)
        if "wrong" in found:  # its refuse did not answer
            raise ValueError(f"{path}: {op} by {name!r} cannot be asked what it refuses: {found['wrong']}")
        if found["mismatches"]:
            raise Wrong(found["mismatches"][0])
        if not found["right"]:
            raise ValueError(f"{path}: {op} by {name!r} refuses every small case: {found['left_out'][0]}")
        tell(f"{op} by {name!r} is right on {found['right']} small cases")
        for why, count in Counter(found["left_out"]).items():
            tell(f"  and refuses {count}: {why}")
        mine.setdefault(op, []).append(name)
    return mine
