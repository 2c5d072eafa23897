"""What starting costs, each time in a fresh process: the import, the first result of a kernel, the first training step.

A just-in-time compiler makes the first call slow once a machine (a cold cache), and a little slow once a process (a warm
one); a kernel compiled ahead of time has neither. Times run from the start of the process to the end of the call; those of
"call 1" and "call 1000" are of the call alone, for the tiles that are compiled at first use beside those that are installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from time import perf_counter

from .contest import OURS, Worker, environment, summary
from .task import Task

FIRST = Task("conv", "conv", "mnist.c2")
STEP = Task("steps", "step", "mnist@10")
TILES = ("simd", "aot")  # the same tiles, compiled just in time and ahead of it
CALLS = 1000
WARM, COLD = 5, 3  # processes that are started with either cache


def rows(libraries: list[str], algorithms: list[str], threads: int, quick: bool,
         progress: Callable[[str], None]) -> Iterator[dict]:
    """The rows of the suite: an import, a first result and a first step for every library (and algorithm of ours).

    quick: once each, with the cache as it is.
    """
    bare = seconds_of("pass", threads, WARM)[WARM // 2]
    for library in (OURS, *libraries):
        progress(f"import {library}")
        seconds = [max(t - bare, 0.0) for t in seconds_of(f"import {library}", threads, 1 if quick else WARM)]
        yield {**_row("import", library, threads), **summary([[s] for s in seconds])}
    tiles = TILES[1:] if quick else TILES
    others = [(library, "") for library in libraries]
    for case, task, contestants in (("first call", FIRST, [*((OURS, a) for a in dict.fromkeys(("auto", *tiles, *algorithms))),
                                                         *others]),
                                    ("first step", STEP, [(OURS, "auto"), *others])):
        chosen = None
        for library, algorithm in contestants:
            if algorithm == chosen:
                continue
            for cache, times in (("warm", 1 if quick else WARM), ("cold", 0 if quick else COLD)):
                if times and (cache == "warm" or library == OURS):  # the others keep no cache on disk
                    progress(f"{case} of {library} {algorithm}, {cache} cache")
                    facts, seconds = first(task, library, algorithm, threads, times, cold=cache == "cold")
                    chosen = facts.get("algorithm") if algorithm == "auto" else chosen
                    row = {**_row(f"{case}, {cache}", library, threads), "algorithm": facts.get("algorithm", algorithm)}
                    if seconds:
                        yield {**row, "chosen": algorithm == "auto", **summary([[s] for s in seconds])}
                    else:
                        yield {**row, "refused": facts.get("refused") or facts["wrong"]}
    for algorithm in () if quick else TILES:
        for cache, times in (("warm", WARM), ("cold", COLD)):
            progress(f"calls 1 and {CALLS} of {algorithm}, {cache} cache")
            both = alone(FIRST, algorithm, threads, times, cold=cache == "cold")
            for case, seconds in both.items():
                yield {**_row(f"{case}, {cache}", OURS, threads), "algorithm": algorithm, "chosen": False,
                       **summary([[s] for s in seconds])}


def _row(case: str, library: str, threads: int) -> dict:
    return {"suite": "startup", "op": "startup", "case": case, "dtype": "float32", "threads": threads, "library": library,
            "algorithm": "", "chosen": library == OURS}


def seconds_of(statement: str, threads: int, times: int) -> list[float]:
    """Seconds of processes that do one statement; the first of them, which fills the disk cache, is not counted."""
    seconds = []
    for _ in range(times + 1):
        start = perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True, env=environment(threads))
        seconds.append(perf_counter() - start)
    return sorted(seconds[1:])


def first(task: Task, library: str, algorithm: str, threads: int, times: int, cold: bool) -> tuple[dict, list[float]]:
    """From the start of a process to the end of the first call, several times; the first of several only warms the cache."""
    seconds: list[float] = []
    facts: dict = {}
    unseen = int(not cold and times > 1)
    for n in range(times + unseen):
        with tempfile.TemporaryDirectory() as folder, \
                Worker(library, threads, **({"NUMBA_CACHE_DIR": folder} if cold else {})) as worker:
            facts = worker.ask("prepare", key="first", task=task.__dict__, algorithm=algorithm)
            if "once" not in facts:
                return facts, []
            if n >= unseen:
                seconds.append(perf_counter() - worker.started - facts["once"])
    return facts, seconds


def alone(task: Task, algorithm: str, threads: int, times: int, cold: bool) -> dict[str, list[float]]:
    """Seconds of the first and of a late call by themselves, each time in a fresh process; nothing where it is refused."""
    seconds: dict[str, list[float]] = {}
    unseen = int(not cold)  # the first process only warms the cache
    for n in range(times + unseen):
        with tempfile.TemporaryDirectory() as folder, \
                Worker(OURS, threads, **({"NUMBA_CACHE_DIR": folder} if cold else {})) as worker:
            facts = worker.ask("prepare", key="first", task=task.__dict__, algorithm=algorithm)
            if "first" not in facts:
                return {}
            late = worker.ask("run", key="first", reps=CALLS - 2, warm=False)["seconds"][-1]
            if n >= unseen:
                seconds.setdefault("call 1", []).append(facts["first"])
                seconds.setdefault(f"call {CALLS}", []).append(late)
    return seconds
