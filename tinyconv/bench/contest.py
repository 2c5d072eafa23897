"""Turns: each library computes in a process of its own for some milliseconds, and is stopped until its next turn.

A process that merely waits still takes cores: idle threads of BLAS and OpenMP spin for 25 ms and more. One round gives
every contestant of a task one turn, in an order that rotates from round to round; noise of the machine then falls on all of
them alike. Every time measured is used: shown are the median and the quartiles, and a ratio of two contestants is the median
of their ratios within a round. Before anyone is timed, every answer is judged.
Read next: worker.py, the other end of the pipe; suites.py, what is asked.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..names import unknown
from . import nets
from .task import Task, work

OURS = "tinyconv"
LIBRARIES = (OURS, "torch", "jax", "onnxruntime", "mygrad")
TURN = 0.03  # seconds of computing in a turn
LONG = 20 * TURN  # a contestant whose turns have taken this long in all has been seen enough
WARM = 0.02  # seconds of calls unseen at the start of a turn: cores speed up, threads spread, and caches fill
SLOW = 0.1  # seconds: a longer call warms itself
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Contestant:
    """A library, and for ours the algorithm ("auto": the registry's choice)."""

    library: str
    algorithm: str = ""


class Ended(RuntimeError):
    """The process of a library is no more: a kernel of someone's crashed it, or there was not enough memory."""


class Worker:
    """A process that holds one library, answers one request at a time, and is stopped in between (where a system can)."""

    def __init__(self, library: str, threads: int, **env: str):
        self.library, self.threads = library, threads
        self.started = perf_counter()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, closed with the worker
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker", library], text=True, bufsize=1,  # no random.py of this folder
            env={**environment(threads), **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.errors)

    def ask(self, do: str, **request: Any) -> dict:
        """Send one request and wait for its reply. Raises: Ended with the process's last words if it died."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self._signal("SIGCONT")
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Ended(f"the process of {self.library} ended {self._last_words()}, asked to {do}")
        self._signal("SIGSTOP")
        return json.loads(line)

    def _last_words(self) -> str:
        status = self.process.wait(timeout=60)
        self.errors.seek(0)
        words = self.errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        return (f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}") + (words and f" ({words})")

    def close(self) -> None:
        """End the process by closing its input."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self._signal("SIGCONT")
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()
        self.errors.close()

    def _signal(self, name: str) -> None:
        if hasattr(signal, name):
            self.process.send_signal(getattr(signal, name))

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def environment(threads: int) -> dict[str, str]:
    """The environment of a process that computes with so many threads and imports this very tinyconv."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads)), "PYTHONPATH": os.pathsep.join(paths)}


def installed(libraries: Iterable[str]) -> tuple[list[str], list[str]]:
    """The other libraries among these that can be imported here, and those that cannot."""
    have: list[str] = []
    lack: list[str] = []
    for library in libraries:
        if library not in LIBRARIES:
            raise ValueError(unknown("library", library, LIBRARIES[1:]))
        if library != OURS:
            (have if find_spec(library) else lack).append(library)
    return have, lack


class Contest:
    """The workers of one bench, all with the same number of threads.

    rounds: turns of every contestant of a task. progress(text) is told what is being done. What went wrong is listed in
    `failures`: a bench that has any has failed.
    """

    def __init__(self, libraries: Iterable[str], threads: int, rounds: int = 9, progress: Callable[[str], None] = print):
        self.threads, self.rounds, self.progress = threads, rounds, progress
        self.workers: dict[str, Worker] = {}
        self.failures: list[str] = []
        self.versions: dict[str, str] = {}
        for library in (OURS, *libraries):
            self.workers[library] = Worker(library, threads)
        for library, worker in self.workers.items():
            facts = worker.ask("hello")
            if facts["threads"] not in (threads, None):
                raise RuntimeError(f"{library} computes with {facts['threads']} threads, the bench wants {threads}")
            self.versions[library] = facts["version"]

    def __enter__(self) -> Contest:
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def run(self, task: Task, contestants: Iterable[Contestant]) -> list[dict]:
        """Judge and time the contestants of a task: a row for each that was right, or that refused and why."""
        ready: dict[Contestant, dict] = {}
        rows = []
        for who in contestants:
            self.progress(f"{task.name}: {who.library} {who.algorithm}")
            facts = self._ready(task, who)
            if "refused" in facts:
                rows.append({**asdict(task), **asdict(who), "threads": self.threads, "refused": facts["refused"]})
            elif "wrong" in facts:
                self.failures.append(f"{who.library} {who.algorithm}: {facts['wrong']}")
            elif any(who.library == o.library and facts.get("algorithm") == f.get("algorithm") for o, f in ready.items()):
                self._ask(task, who, "drop")  # "auto" and the algorithm it chose are one contestant
            else:
                ready[who] = facts
        samples = self._turns(task, ready)
        if task.op == "step":
            for who in ready:
                if who.library == OURS:
                    ready[who]["parts"] = self.workers[OURS].ask("parts", task=asdict(task))
        for who in ready:
            self._ask(task, who, "drop")
        return [self._row(task, who, ready[who], samples[who]) for who in ready] + rows

    def _ready(self, task: Task, who: Contestant) -> dict:
        """Prepare a contestant and have its answer judged."""
        facts = self._ask(task, who, "prepare", task=asdict(task), algorithm=who.algorithm)
        if "once" not in facts:
            return facts
        if who.library == OURS and task.op != "step":
            verdict = self.workers[OURS].ask("verify", task=asdict(task), algorithm=who.algorithm)
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "answer.npy")
                verdict = self._ask(task, who, "save", task=asdict(task), path=path)
                if "wrong" not in verdict:
                    verdict = self.workers[OURS].ask("judge", task=asdict(task), path=path)
        return {**facts, **verdict}

    def _turns(self, task: Task, ready: dict[Contestant, dict]) -> dict[Contestant, list[list[float]]]:
        """The seconds of every call, in rounds."""
        samples: dict[Contestant, list[list[float]]] = {who: [] for who in ready}
        order = list(ready)
        for turn in range(self.rounds):
            for who in (order[(turn + n) % len(order)] for n in range(len(order))):
                once = ready[who]["once"]
                if once * turn <= LONG:
                    reps = max(1, min(500, int(TURN / once)))
                    samples[who].append(self._ask(task, who, "run", reps=reps, warm=WARM if once < SLOW else 0)["seconds"])
        return samples

    def _ask(self, about: Task, who: Contestant, do: str, /, **request: Any) -> dict:
        return self.workers[who.library].ask(do, key=f"{about.name} {who.library} {who.algorithm}", **request)

    def _row(self, task: Task, who: Contestant, facts: dict, rounds: list[list[float]]) -> dict:
        amount = nets.work(task) if task.op == "step" else work(task)
        return {**asdict(task), **asdict(who), **amount, **facts, "chosen": who.algorithm == "auto", "threads": self.threads,
                **summary(rounds)}


def summary(rounds: list[list[float]]) -> dict:
    """The median and quartiles of all samples, and the median of every round."""
    samples = np.concatenate(rounds)
    low, median, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return {"median": float(median), "low": float(low), "high": float(high), "calls": len(samples),
            "rounds": [float(np.median(r)) for r in rounds]}


def ratio(other: dict, row: dict) -> float:
    """How many times faster `row` is than `other`: the median of the ratios within a round."""
    pairs = min(len(other["rounds"]), len(row["rounds"]))
    return float(np.median(np.divide(other["rounds"][:pairs], row["rounds"][:pairs])))
