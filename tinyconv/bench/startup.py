"""What starting costs, each time in a fresh process: the import, the first result of a kernel, the first training step.

A just-in-time compiler makes the first call slow once a machine (a cold cache), and a little slow once a process (a warm
one); a kernel compiled ahead of time has neither. Times run from the start of the process to the end of the call; those of
"call 1" and "call 1000" are of the call alone, for the tiles that are compiled at first use beside those that are installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from statistics import median
from time import perf_counter

from .contest import OURS, Contestant, Worker, environment, summary
from .task import Task

TILES = ("simd", "aot")  # the same tiles, compiled just in time and ahead of it
CALLS = 1000
ALONE = f"calls 1 and {CALLS}"
CALL, STEP = Task("conv", "conv", "mnist.c2"), Task("steps", "step", "mnist@10")
DOES = {"first call": CALL, "first step": STEP, ALONE: CALL}  # what a fresh process does, by case
CASES = ("import", *DOES)
CACHES = {"warm": 5, "cold": 3}  # processes that are started with either cache


def rows(task: Task, contestants: Iterable[Contestant], ours: Worker, quick: bool,
         progress: Callable[[str], None]) -> Iterator[dict]:
    """The rows of one case of the suite. `ours` compiles first what a process with a warm cache is to find there.

    quick: one process for each row, and none with a cold cache.
    """
    caches = {"warm": 1} if quick else CACHES
    if task.case == "import":
        yield from _imports(task, contestants, ours.threads, caches["warm"], progress)
        return
    call = replace(DOES[task.case], dtype=task.dtype)
    chosen = ""
    for who in contestants:
        if who.algorithm and who.algorithm == chosen:
            continue  # it was timed as the registry's choice
        for cache, times in caches.items():
            if cache == "cold" and who.library != OURS:
                continue  # the others keep no cache on disk
            progress(f"{task.case} of {who.library} {who.algorithm}, {cache} cache")
            if cache == "warm" and who.library == OURS:
                ours.ask("prepare", key="warm", task=asdict(call), algorithm=who.algorithm)
            facts, found = started(task.case, call, who, ours.threads, times, cold=cache == "cold")
            if who.algorithm == "auto":
                chosen = facts.get("algorithm", "")
            for case, seconds in found.items():
                yield _row(task, f"{case}, {cache}", replace(who, algorithm=facts.get("algorithm", "")), ours.threads,
                           who.algorithm == "auto", summary([[s] for s in seconds]))
            if not found:
                yield _row(task, f"{task.case}, {cache}", who, ours.threads, False,
                           {"refused": facts.get("refused") or facts["wrong"]})


def _imports(task: Task, contestants: Iterable[Contestant], threads: int, times: int,
             progress: Callable[[str], None]) -> Iterator[dict]:
    """How much longer than the interpreter's own start a process takes that imports a library."""
    bare = median(seconds_of("pass", threads, CACHES["warm"]))
    for who in contestants:
        progress(f"import {who.library}")
        seconds = [max(t - bare, 0.0) for t in seconds_of(f"import {who.library}", threads, times)]
        yield _row(task, task.case, replace(who, algorithm=""), threads, who.library == OURS, summary([[s] for s in seconds]))


def _row(task: Task, case: str, who: Contestant, threads: int, chosen: bool, facts: dict) -> dict:
    return {**asdict(task), "case": case, **asdict(who), "threads": threads, "chosen": chosen, **facts}


def seconds_of(statement: str, threads: int, times: int) -> list[float]:
    """Seconds of processes that do one statement."""
    seconds = []
    for _ in range(times):
        start = perf_counter()
        subprocess.run([sys.executable, "-P", "-c", statement], check=True, env=environment(threads))
        seconds.append(perf_counter() - start)
    return seconds


def started(case: str, call: Task, who: Contestant, threads: int, times: int, cold: bool) \
        -> tuple[dict, dict[str, list[float]]]:
    """Make a call in fresh processes, so many times: facts about it, and seconds by what they are of; none where refused."""
    seconds: dict[str, list[float]] = {}
    facts: dict = {}
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder, \
                Worker(who.library, threads, **({"NUMBA_CACHE_DIR": folder} if cold else {})) as worker:
            facts = worker.ask("prepare", key="first", task=asdict(call), algorithm=who.algorithm)
            if "once" not in facts:
                return facts, {}
            if case != ALONE:  # prepare makes a second call, which is taken off again
                seconds.setdefault(case, []).append(perf_counter() - worker.started - facts["once"])
            else:
                late = worker.ask("run", key="first", reps=CALLS - 2, warm=0)["seconds"][-1]
                seconds.setdefault("call 1", []).append(facts["first"])
                seconds.setdefault(f"call {CALLS}", []).append(late)
    return facts, seconds
