"""Turns: each library waits in its own process until it is asked, computes for some milliseconds, and waits again.

One round gives every contestant of a task one turn, in an order that rotates from round to round; noise of the machine
then falls on all of them alike. What is kept is every time measured; shown are the median and the quartiles, and ratios
are medians of the ratios within a round. Before anyone is timed, every answer is judged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from .task import Task
from .worker import LIBRARIES

OURS = "tinyconv"
TURN = 0.03  # seconds of computing in a turn
PAUSE = 0.005  # seconds between turns, so that waiting threads of the last library have gone to sleep
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Contestant:
    """A library, and for ours the algorithm ("auto": the registry's choice)."""

    library: str
    algorithm: str = ""


class Worker:
    """A process that holds one library, and answers one request at a time."""

    def __init__(self, library: str, threads: int):
        self.library = library
        env = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
        root = str(Path(__file__).parents[2])
        env["PYTHONPATH"] = os.pathsep.join([root, env["PYTHONPATH"]] if env.get("PYTHONPATH") else [root])
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", library], env=env, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.facts = self.ask(do="hello")

    def ask(self, **request: Any) -> dict:
        """Send one request and wait for its reply. Raises: RuntimeError with the process's last words if it died."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.errors.seek(0)
            raise RuntimeError(f"the process of {self.library} ended: {self.errors.read().decode(errors='replace')[-2000:]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process by closing its input."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        self.errors.close()


def installed(libraries: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those that can be imported here, and those that cannot; ours is always among the first."""
    have, lack = [], []
    for library in libraries:
        (have if library == OURS or find_spec(library) else lack).append(library)
    return have, lack


class Contest:
    """The workers of one bench, all with the same number of threads.

    rounds: turns of every contestant of a task. progress(text) is told what is being done.
    """

    def __init__(self, libraries: Iterable[str], threads: int, rounds: int = 9, turn: float = TURN,
                 progress: Callable[[str], None] = lambda text: None):
        self.threads, self.rounds, self.turn, self.progress = threads, rounds, turn, progress
        self.workers = {library: Worker(library, threads) for library in dict.fromkeys([OURS, *libraries])}
        self.failures: list[str] = []

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def run(self, task: Task, contestants: Iterable[Contestant]) -> list[dict]:
        """Judge and time the contestants of a task: a row for each that was right. The wrong ones go to `failures`."""
        ready: dict[Contestant, dict] = {}
        refused: list[dict] = []
        for who in contestants:
            self.progress(f"{task.name}: {who.library} {who.algorithm}")
            facts = self._prepare(task, who)
            if "wrong" in facts:
                self.failures.append(f"{who.library} {who.algorithm}: {facts['wrong']}")
            elif "refused" in facts:
                refused.append({**asdict(task), **asdict(who), "threads": self.threads, "refused": facts["refused"]})
            elif not any(facts.get("algorithm") == have.get("algorithm") and who.library == other.library
                         for other, have in ready.items()):  # "auto" and its choice are one contestant
                ready[who] = facts
        samples: dict[Contestant, list[list[float]]] = {who: [] for who in ready}
        order = list(ready)
        for turn in range(self.rounds):
            for who in order[turn % len(order):] + order[:turn % len(order)]:
                once = ready[who]["once"]
                if once * turn > 20 * self.turn:  # one call outlasts many turns: fewer rounds of it tell as much
                    continue
                reps = max(1, min(500, int(self.turn / once)))
                sleep(PAUSE)
                samples[who].append(self.workers[who.library].ask(do="run", key=_key(task, who), reps=reps)["seconds"])
        for who in ready:
            self.workers[who.library].ask(do="drop", key=_key(task, who))
        return [self._row(task, who, ready[who], samples[who]) for who in ready] + refused

    def _prepare(self, task: Task, who: Contestant) -> dict:
        worker, key = self.workers[who.library], _key(task, who)
        facts = worker.ask(do="prepare", key=key, task=asdict(task), algorithm=who.algorithm)
        if "once" not in facts or (who.library == OURS and task.suite != "steps"):  # our kernels judge themselves
            return facts
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "answer.npy")
            saved = worker.ask(do="save", key=key, task=asdict(task), path=path)
            verdict = saved if "wrong" in saved else self.workers[OURS].ask(do="judge", task=asdict(task), path=path)
        return verdict if "wrong" in verdict else {**facts, **verdict}

    def _row(self, task: Task, who: Contestant, facts: dict, rounds: list[list[float]]) -> dict:
        seconds = np.concatenate(rounds)
        low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
        return {**asdict(task), **asdict(who), **facts, "chosen": who.algorithm == "auto", "threads": self.threads,
                "median": float(median), "low": float(low), "high": float(high), "calls": len(seconds),
                "rounds": [float(np.median(r)) for r in rounds]}


def _key(task: Task, who: Contestant) -> str:
    return f"{task.name} {who.library} {who.algorithm}"


def ratio(other: dict, row: dict) -> float:
    """How many times faster `row` is than `other`: the median of the ratios within a round."""
    pairs = min(len(other["rounds"]), len(row["rounds"]))
    return float(np.median(np.divide(other["rounds"][:pairs], row["rounds"][:pairs])))


__all__ = ["LIBRARIES", "OURS", "Contest", "Contestant", "Worker", "installed", "ratio"]
